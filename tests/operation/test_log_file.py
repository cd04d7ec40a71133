"""Log files: clean lines with level and stage, bounded in size and number."""

from datetime import datetime
from pathlib import Path

import pytest

from pillsnap.operation import log_file
from pillsnap.operation.log_file import Line, LineSorter, LogFile, clean

NOW = datetime(2025, 11, 23, 15, 37, 1, 204_000)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("10%\r50%\r100% done", "100% done"),
        ("100% done\r", "100% done"),
        ("\x1b[31mERROR\x1b[39m: broken\x1b[K", "ERROR: broken"),
        ("\x1b]8;;https://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("알약 \x07 pill\x00", "알약  pill"),
        ("\r\r", ""),
    ],
)
def test_a_line_is_kept_as_a_terminal_would_show_it(raw: str, shown: str) -> None:
    assert clean(raw) == shown


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Running stage 'validate':", Line("INFO", "validate", "Running stage 'validate':")),
        ("ERROR: failed to reproduce", Line("ERROR", "train", "ERROR: failed to reproduce")),
        ("WARNING: slow", Line("WARNING", "train", "WARNING: slow")),
        ("evaluate: x is gone.", Line("ERROR", "train", "evaluate: x is gone.")),
        (
            "2025-11-23 15:37:01,204 DEBUG   train_detection  epoch 1/2",
            Line("DEBUG", "train_detection", "epoch 1/2"),
        ),
    ],
)
def test_a_line_gets_its_level_and_stage(text: str, line: Line) -> None:
    assert LineSorter("train")(text) == line


def test_the_stage_that_runs_owns_the_lines_after_it() -> None:
    sort = LineSorter("train")
    sort("Running stage 'dvc.yaml:evaluate':")
    assert sort("> python src/evaluate.py").stage == "evaluate"


def test_a_traceback_is_an_error_down_to_its_last_line() -> None:
    sort = LineSorter("train")
    lines = ["Traceback (most recent call last):", '  File "x.py"', "ValueError: no", "after"]
    assert [sort(line).level for line in lines] == ["ERROR", "ERROR", "ERROR", "INFO"]


def test_a_written_line_has_time_level_and_stage(tmp_path: Path) -> None:
    with LogFile(tmp_path, "train", NOW) as log:
        log.write(Line("INFO", "validate", "알약 1,500"), NOW)
    assert log.path.name == "20251123-153701-train.log"
    assert log.path.read_text("utf-8") == "2025-11-23 15:37:01,204 INFO    validate  알약 1,500\n"


def test_a_growing_log_keeps_its_newest_parts_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "PART_BYTES", 400)
    with LogFile(tmp_path, "train", NOW) as log:
        for number in range(100):
            log.write(Line("INFO", "train", f"line {number:04d}"), NOW)
    parts = sorted(tmp_path.iterdir())
    assert [path.name for path in parts] == [log.path.name + end for end in ("", ".1", ".2")]
    assert max(path.stat().st_size for path in parts) <= 400
    kept = "".join(path.read_text() for path in [parts[2], parts[1], parts[0]]).splitlines()
    assert [line.split()[-1] for line in kept] == [f"{n:04d}" for n in range(100 - len(kept), 100)]


def test_old_runs_are_removed_with_their_parts_and_nothing_else(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"2025112{number}-000000-train.log").touch()
        (tmp_path / f"2025112{number}-000000-train.log.1").touch()
    (tmp_path / "notes.txt").touch()
    log_file.prune(tmp_path, 2)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "20251123-000000-train.log",
        "20251123-000000-train.log.1",
        "20251124-000000-train.log",
        "20251124-000000-train.log.1",
        "notes.txt",
    ]


def test_a_full_disk_is_said_once_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{NOW:%Y%m%d-%H%M%S}-train.log"
    (tmp_path / name).symlink_to("/dev/full")
    with LogFile(tmp_path, "train", NOW) as log:
        log.write(Line("INFO", "train", "one"), NOW)
        log.write(Line("INFO", "train", "two"), NOW)
    assert capsys.readouterr().err.count("No space left on device") == 1


def test_a_folder_that_cannot_be_made_is_said_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    with LogFile(tmp_path / "logs", "train", NOW) as log:
        log.write(Line("INFO", "train", "one"), NOW)
    assert "is not written" in capsys.readouterr().err
