"""--refuse-more, --refuse-less and --known-recall: each uses a threshold that evaluate fitted."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from typer.testing import CliRunner

from make import services
from make.drawn_models import RED, frame, recogniser
from pillsnap import cli_use
from pillsnap.errors import UsageError
from pillsnap.prediction.thresholds import LESS, MORE, chosen
from pillsnap.recognition.calibration import OperatingPoint
from pillsnap.release.onnx_models import OnnxClassifier
from pillsnap.service import command

POINTS = tuple(OperatingPoint(recall, -recall, 0.1) for recall in (0.8, 0.9, 0.95))
MADE = replace(recogniser().calibration, operating_points=POINTS).at(0.9)


def test_more_and_less_are_the_next_steps_and_a_share_is_exact():
    for refusal, recall in {None: 0.9, MORE: 0.8, LESS: 0.95, 0.8: 0.8}.items():
        assert chosen(MADE, refusal) == MADE.at(recall)
        assert MADE.at(recall).threshold == -recall


@pytest.mark.parametrize(
    ("default", "refusal"), [(0.8, MORE), (0.95, LESS), (0.9, 0.85), (0.9, 1.0)]
)
def test_a_recall_without_threshold_is_refused_and_the_offered_one_is_there(default, refusal):
    with pytest.raises(UsageError, match=r"recalls 0\.8, 0\.9, 0\.95 ") as error:
        chosen(MADE.at(default), refusal)
    offered = float(error.value.cure.partition("--known-recall ")[2])
    assert chosen(MADE.at(default), offered).known_recall == offered


def test_predict_check_and_serve_use_the_threshold_asked_for(exported, tmp_path, monkeypatch):
    points = OnnxClassifier(exported.classification_onnx, 1).config["operating_points"]
    assert [point["known_recall"] for point in points] == [0.8, 0.85, 0.9, 0.95]  # val: 12 pills
    monkeypatch.chdir(tmp_path)
    Image.fromarray(frame((20, 30, 60, RED))).save("photo.png")
    Path("list.csv").write_text("K-000000,1\n")
    models, apps = ["--backend", "onnx", "--model", str(exported.folder)], []
    server = SimpleNamespace(run=lambda **_: None)
    monkeypatch.setattr(command.web, "server", lambda app, _: apps.append(app) or server)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)

    def run(line, *flags):
        return CliRunner().invoke(cli_use.app, [*line.split(), *flags, *models])

    asked = {(): points[3], ("--refuse-more",): points[2], ("--known-recall", "0.8"): points[0]}
    for flags, point in asked.items():
        done = run("predict photo.png --json --no-imprint", *flags)
        for pill in json.loads(done.stdout)[0]["pills"]:
            assert pill["known"] == (pill["known_score"] >= point["threshold"])
        run("check photo.png --prescription list.csv --log log --no-imprint", *flags)
        logged = json.loads(Path("log").read_text("utf-8").splitlines()[-1])
        assert run("serve --port 0", *flags).exit_code == 0
        served = services.client(apps[-1]).get("/v1/model").json()
        assert logged["known_recall"] == served["known_recall"] == point["known_recall"]
        assert served["refusal"]["threshold"] == point["threshold"]
    refused = run("serve --port 0 --refuse-less").exception
    assert "no threshold for --refuse-less" in refused.fact
