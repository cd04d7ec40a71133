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


def write(log, text):
    log.handle(logging.makeLogRecord({"name": "train", "levelname": "INFO", "msg": text}))


def test_everything_is_shown_and_logged_with_time_level_and_stage(tmp_path, capsys):
    table = Table()
    table.add_row("한 행")
    with Output("train", tmp_path) as output:
        output.line("from dvc [1]")
        output.event("evaluate", "WARNING", "slow :smile:", NOW.timestamp())
        output.show("ours\nand more", "ERROR")
        output.show(table)
    printed, logged = capsys.readouterr().out, output.log.path.read_text("utf-8")
    stamped = "2025-11-23 15:37:01,204 WARNING evaluate  slow :smile:\n"
    assert [line in printed for line in ("from dvc [1]", stamped, "ours\nand more")] == [True] * 3
    for line in (" INFO    dvc  from dvc [1]", stamped, " ERROR   train  and more", "한 행"):
        assert line in logged


def test_the_newest_parts_of_the_newest_runs_are_kept_and_other_files(tmp_path, monkeypatch):
    monkeypatch.setattr(log_file, "PART_BYTES", 400)
    monkeypatch.setattr(log_file, "RUNS", 2)
    before = ["20251120-000000-train.log", "20251121-000000-train.log"]
    for name in ("notes.txt", *before, *(f"{run}.1" for run in before)):
        (tmp_path / name).touch()
    with closing(LogFile(tmp_path, "train", NOW)) as log:
        for number in range(100):
            write(log, f"line {number:04d}")
    names = [before[1], f"{before[1]}.1", LOG, f"{LOG}.1", f"{LOG}.2", "notes.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    parts = sorted(tmp_path.glob(f"{LOG}*"), reverse=True)
    assert max(path.stat().st_size for path in parts) <= 400
    kept = "".join(path.read_text() for path in parts).splitlines()
    assert [line.split()[-1] for line in kept] == [f"{n:04d}" for n in range(100 - len(kept), 100)]


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda folder: (folder / LOG).symlink_to("/dev/full"), "No space left on device"),
        (lambda folder: (folder / LOG).mkdir(), "Is a directory"),
        (lambda folder: folder.rmdir() or folder.write_text("a file"), "Not a directory"),
    ],
    ids=["full disk", "a folder", "no folder"],
)
def test_a_log_that_cannot_be_written_is_reported_once(tmp_path, capsys, break_it, reason):
    (tmp_path / "logs").mkdir()
    break_it(tmp_path / "logs")
    with closing(LogFile(tmp_path / "logs", "train", NOW)) as log:
        write(log, "one")
        write(log, "two")
    reported = capsys.readouterr().err
    assert (reported.count("is not written"), reason in reported) == (1, True)
