"""`predict --pair`: two photos of one pill decide what neither decides alone."""

import json
from dataclasses import replace

import pytest
from PIL import Image
from typer.testing import CliRunner

from make.drawn_models import GREEN, RED, STRANGE, frame, recogniser
from pillsnap import cli_use
from pillsnap.prediction import load
from pillsnap.prediction.load import Loaded

RED_OR_YELLOW = (250, 154, 60)


@pytest.fixture
def predict(tmp_path, monkeypatch):
    """Runs `pillsnap predict --pair` on photos of squares, and returns exit code, pill, cure."""
    tool = recogniser()
    tool.calibration = replace(tool.calibration, threshold=-0.1)
    loaded = Loaded(tool, 2, 200_000, "torch", "demo", tmp_path / "none.json")
    monkeypatch.setattr(load, "load", lambda *_, **__: loaded)

    def run(*photos, flags=("--json",)):
        paths = [str(tmp_path / f"{at}.png") for at in range(len(photos))]
        for path, colours in zip(paths, photos, strict=True):
            squares = [(20 + 60 * at, 30, 50, colour) for at, colour in enumerate(colours)]
            Image.fromarray(frame(*squares)).save(path)
        done = CliRunner().invoke(cli_use.app, ["predict", "--pair", *paths, *flags])
        pill = json.loads(done.stdout)[0]["pills"][0] if done.stdout else None
        return pill, getattr(done.exception, "cure", "")

    return run


def test_a_pair_has_the_joint_probability_of_all_classes(predict):
    pill, _ = predict([RED_OR_YELLOW], [RED], flags=("--json", "--top", "2"))
    assert (pill["code"], pill["edi_codes"]) == ("K-000000", ["111", "222"])
    assert pill["names"] == ["K-000000"]
    assert [each["code"] for each in pill["candidates"]] == ["K-000000", "K-000003"]
    assert pill["confidence"] == pill["candidates"][0]["probability"] > 0.99
    alone = recogniser().recognise([frame((20, 30, 50, RED_OR_YELLOW))], 4)[0][0]
    assert alone.confidence < 0.9
    assert not predict([STRANGE], [STRANGE])[0]["known"]


@pytest.mark.parametrize(
    ("photos", "cure"),
    [
        ([[RED]], "two photos"),
        ([[RED]] * 3, "two photos"),
        ([[RED], [RED, GREEN]], "--single"),
        ([[RED], []], "--single"),
    ],
)
def test_anything_but_two_photos_of_one_pill_is_refused(predict, photos, cure):
    pill, told = predict(*photos)
    assert pill is None
    assert cure in told
