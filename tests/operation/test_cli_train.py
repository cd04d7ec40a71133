"""`pillsnap train`: what its options refuse, as usage."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pillsnap.cli import app
from pillsnap.operation import train


def test_an_unknown_log_level_is_refused_with_the_levels() -> None:
    done = CliRunner().invoke(app, ["train", "--log-level", "FOO"])
    assert done.exit_code == 2
    assert "DEBUG, INFO, WARNING, ERROR" in " ".join(done.output.split())


def test_a_batch_of_one_crop_is_refused() -> None:
    assert CliRunner().invoke(app, ["train", "--batch-size", "1"]).exit_code == 2


def test_a_log_level_is_known_in_small_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[train.TrainOptions] = []

    def note(options: train.TrainOptions, root: Path = Path()) -> int:
        asked.append(options)
        return 0

    monkeypatch.setattr(train, "train", note)
    assert CliRunner().invoke(app, ["train", "--log-level", "debug"]).exit_code == 0
    assert asked[0].log_level == "DEBUG"
