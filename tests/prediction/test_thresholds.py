"""--refuse-more, --refuse-less and --known-recall: each uses a threshold that evaluate fitted."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from typer.testing import CliRunner

from make import evaluated_project, services
from make.drawn_models import RED, frame, recogniser
from pillsnap import cli_use
from pillsnap.errors import UsageError
from pillsnap.prediction import thresholds
from pillsnap.recognition.calibration import OperatingPoint
from pillsnap.release.onnx_models import OnnxClassifier
from pillsnap.service import command

POINTS = tuple(OperatingPoint(0.8 + at / 10, -0.1 * at, 0.1) for at in range(2))
MADE = replace(
    recogniser().calibration, operating_points=(*POINTS, OperatingPoint(0.95, -0.2, 0.1))
).at(0.9)


@pytest.fixture
def bundle(tmp_path_factory):
    """Its val has twelve known pills: the highest recall that these support is 0.9."""
    return evaluated_project.exported(tmp_path_factory.getbasetemp())


@pytest.mark.parametrize(
    ("options", "recall"),
    [
        ((False, False, None), 0.9),
        ((True, False, None), 0.8),
        ((False, True, None), 0.95),
        ((False, False, 0.8), 0.8),
        ((False, False, 0.9), 0.9),
    ],
)
def test_more_and_less_are_the_next_steps_and_a_share_is_exact(options, recall) -> None:
    chosen = thresholds.chosen(MADE, thresholds.asked(*options))
    assert chosen == MADE.at(recall)
    assert chosen.known_recall == recall


@pytest.mark.parametrize(
    ("start", "options"),
    [
        (0.8, (True, False, None)),
        (0.95, (False, True, None)),
        (0.9, (False, False, 0.85)),
        (0.9, (False, False, 1.0)),
    ],
)
def test_a_step_that_was_not_fitted_is_refused_and_the_offered_one_is_there(start, options) -> None:
    with pytest.raises(UsageError, match=r"0\.8, 0\.9, 0\.95; ") as refusal:
        thresholds.chosen(MADE.at(start), thresholds.asked(*options))
    offered = float(refusal.value.cure.partition("--known-recall ")[2])
    assert thresholds.chosen(MADE.at(start), offered).known_recall == offered


def test_predict_check_and_serve_use_the_threshold_asked_for(bundle, tmp_path, monkeypatch):
    points = OnnxClassifier(bundle.classification_onnx, 1).config["operating_points"]
    assert [point["known_recall"] for point in points] == [0.8, 0.85, 0.9, 0.95]
    monkeypatch.chdir(tmp_path)
    Image.fromarray(frame((20, 30, 60, RED))).save("photo.png")
    Path("list.csv").write_text("K-000000,1\n")
    models, apps = ["--backend", "onnx", "--model", str(bundle.folder)], []
    server = SimpleNamespace(run=lambda **_: None)
    monkeypatch.setattr(command.web, "server", lambda app, _: apps.append(app) or server)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    check = ["check", "photo.png", "--prescription", "list.csv", "--log", "log", "--no-imprint"]

    def run(*words):
        return CliRunner().invoke(cli_use.app, [*words, *models])

    for flags, point in (
        ([], points[3]),
        (["--refuse-more"], points[2]),
        (["--known-recall", "0.8"], points[0]),
    ):
        done = run("predict", "photo.png", "--json", "--no-imprint", *flags)
        for pill in json.loads(done.stdout)[0]["pills"]:
            assert pill["known"] == (pill["known_score"] >= point["threshold"])
        assert run(*check, *flags).exit_code in (0, 3)
        logged = json.loads(Path("log").read_text("utf-8").splitlines()[-1])
        assert run("serve", "--port", "0", *flags).exit_code == 0
        with services.client(apps[-1]) as client:
            served = client.get("/v1/model").json()
        assert logged["known_recall"] == served["known_recall"] == point["known_recall"]
        assert served["refusal"]["threshold"] == point["threshold"]
    refused = run("predict", "photo.png", "--refuse-less").exception
    assert "1 / (1 - recall) known pills" in refused.fact
