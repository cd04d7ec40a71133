"""The log of checks: appended whole, signed, and refused where it cannot be written."""

import hashlib
import json

import pytest
from typer.testing import CliRunner

from make.drawn_models import GREEN, RED, frame, recogniser
from make.services import png
from pillsnap import cli_use
from pillsnap.prediction import load
from pillsnap.prediction.load import Loaded


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Runs `pillsnap check` on a red and a green pill, with a list of both."""
    monkeypatch.chdir(tmp_path)
    loaded = Loaded(recogniser(), 2, 200_000, "torch", "demo", tmp_path / "none.json")
    monkeypatch.setattr(load, "load", lambda *_, **__: loaded)
    (tmp_path / "a.png").write_bytes(png(frame((20, 40, 30, RED), (70, 40, 30, GREEN))))
    (tmp_path / "list.csv").write_text("K-000000,1\nK-000001,1\n")

    def run(*flags):
        command = ["check", "a.png", "gone.png", "--prescription", "list.csv", *flags]
        return CliRunner().invoke(cli_use.app, command)

    return run


def entries(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_each_check_is_a_line_with_hashes_verdict_and_signature(check, tmp_path):
    log = tmp_path / "new" / "checks.jsonl"
    for flags in ([], ["--confirm", "김 약사"], ["--correct", "Lee"]):
        assert check("--log", str(log), *flags).exit_code == 3
    signed = [(each["person"], each["decision"]) for each in entries(log)]
    assert signed == [("", ""), ("김 약사", "confirmed"), ("Lee", "corrected")]
    first = entries(log)[0]
    sha256 = hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    assert first["pictures"] == [
        {"path": "a.png", "sha256": sha256}, {"path": "gone.png", "sha256": None},
    ]  # fmt: skip
    assert (first["all_right"], first["refused"]) == (False, ["gone.png"])
    assert (first["classifier"], first["known_recall"]) == ("", 0.95)
    drug = {"asked": "K-000000", "count": 1, "found": 1, "status": "right"}
    assert first["drugs"][0] == drug
    assert first["prescription"]["sha256"] and first["time"].endswith("+00:00")


def test_an_unfinished_line_is_not_continued(check, tmp_path):
    log = tmp_path / "checks.jsonl"
    log.write_text('{"time": "20')
    assert check("--log", str(log)).exit_code == 3
    begun, line = log.read_text("utf-8").splitlines()
    assert begun == '{"time": "20'
    assert json.loads(line)["drugs"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--confirm", "Kim"], "Add --log FILE"),
        (["--log", "c", "--confirm", "Kim", "--correct", "Lee"], "Choose one"),
        (["--log", "c", "--confirm", " "], "--confirm NAME"),
        (["--log", "."], "--log FILE"),
        (["--log", "a.png/c"], "--log FILE"),
        (["--log", "/dev/full"], "Free space"),
    ],
)
def test_a_log_that_cannot_be_kept_is_refused_before_any_verdict(check, tmp_path, flags, words):
    done = check(*flags)
    assert words in f"{getattr(done.exception, 'cure', '')}"
    assert "all right" not in done.stdout
    assert not (tmp_path / "c").exists()
