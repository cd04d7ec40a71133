"""Log files: clean lines with level and stage, bounded in size and number."""

import logging
from contextlib import closing
from datetime import datetime

import pytest
from rich.table import Table

from pillsnap.operation import log_file
from pillsnap.operation.log_file import LogFile, Output, clean

NOW = datetime(2025, 11, 23, 15, 37, 1, 204_000)
LOG = "20251123-153701-train.log"


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
def test_a_line_is_kept_as_a_terminal_would_show_it(raw, shown):
    assert clean(raw) == shown


def write(log, text, name="train"):
    fields = {"name": name, "levelname": "INFO", "msg": text, "created": NOW.timestamp()}
    log.handle(logging.makeLogRecord({**fields, "msecs": 204}))


def test_a_written_line_has_time_level_and_stage(tmp_path):
    with closing(LogFile(tmp_path, "train", NOW)) as log:
        write(log, "알약 1,500 100%", "validate")
    assert log.path.name == "20251123-153701-train.log"
    expected = "2025-11-23 15:37:01,204 INFO    validate  알약 1,500 100%\n"
    assert log.path.read_text("utf-8") == expected


def test_everything_is_shown_and_logged(tmp_path, capsys):
    table = Table()
    table.add_row("한 행")
    with Output("train", tmp_path) as output:
        output.line("from dvc [1]")
        output.event("evaluate", "WARNING", "slow :smile:", NOW.timestamp())
        output.show("ours\nand more", "ERROR")
        output.show(table)
    printed, logged = capsys.readouterr().out, output.log.path.read_text("utf-8")
    stamped = "2025-11-23 15:37:01,204 WARNING evaluate  slow :smile:"
    assert [line in printed for line in ("from dvc [1]", stamped, "ours\nand more")] == [True] * 3
    for line in (" INFO    dvc  from dvc [1]", stamped, " ERROR   train  and more", "한 행"):
        assert line in logged


def test_a_growing_log_keeps_its_newest_parts_only(tmp_path, monkeypatch):
    monkeypatch.setattr(log_file, "PART_BYTES", 400)
    with closing(LogFile(tmp_path, "train", NOW)) as log:
        for number in range(100):
            write(log, f"line {number:04d}")
    parts = sorted(tmp_path.iterdir())
    assert [path.name for path in parts] == [log.path.name + end for end in ("", ".1", ".2")]
    assert max(path.stat().st_size for path in parts) <= 400
    kept = "".join(path.read_text() for path in [parts[2], parts[1], parts[0]]).splitlines()
    assert [line.split()[-1] for line in kept] == [f"{n:04d}" for n in range(100 - len(kept), 100)]


def test_old_runs_are_removed_with_their_parts_and_nothing_else(tmp_path):
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


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda folder: (folder / LOG).symlink_to("/dev/full"), "No space left on device"),
        (lambda folder: (folder / LOG).mkdir(), "Is a directory"),
        (lambda folder: folder.rmdir() or folder.write_text("a file"), "Not a directory"),
    ],
    ids=["full disk", "a folder", "no folder"],
)
def test_a_log_that_cannot_be_written_is_reported_once_and_stops_nothing(
    tmp_path, capsys, break_it, reason
):
    (tmp_path / "logs").mkdir()
    break_it(tmp_path / "logs")
    with closing(LogFile(tmp_path / "logs", "train", NOW)) as log:
        write(log, "one")
        write(log, "two")
    reported = capsys.readouterr().err
    assert reported.count("is not written") == 1
    assert reason in reported
