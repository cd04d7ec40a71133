"""The status in the terminal."""

import time
from pathlib import Path

import orjson
import pytest

from make.monitor_runs import FAILURE, drawn_run, write_run
from pillsnap.monitor.terminal import NUM_LOG_LINES, duration, status_text
from pillsnap.stage.log import RunLog

NOW_S = 1e9


def test_before_anything_ran_it_says_how_to_start(tmp_path: Path) -> None:
    assert "pillsnap train" in status_text(tmp_path, NOW_S)


@pytest.mark.parametrize(
    "shown",
    ["train_detection", "18/18", "12/18 step 11/20", "64%", "(goal 0.85)", "GPU none", "CPU"],
)
def test_a_run_in_the_middle_is_shown(tmp_path: Path, shown: str) -> None:
    write_run(tmp_path, drawn_run(NOW_S))
    assert shown in status_text(tmp_path, NOW_S, width=200)


def test_the_stages_fit_a_narrow_terminal(tmp_path: Path) -> None:
    write_run(tmp_path, drawn_run(NOW_S))
    rows = status_text(tmp_path, NOW_S, width=80).splitlines()
    [row] = [row for row in rows if row.startswith("train_classification ") and "running" in row]
    assert row.rstrip().endswith("left")


def test_a_gpu_is_shown_with_its_readings(tmp_path: Path) -> None:
    write_run(tmp_path, drawn_run(NOW_S, gpu=True))
    assert "RTX 5080" in status_text(tmp_path, NOW_S, width=200)


def test_the_data_checks_are_summarised(tmp_path: Path) -> None:
    write_run(tmp_path, drawn_run(NOW_S))
    assert "3 pass, 1 warn, 0 fail (frames decode)" in status_text(tmp_path, NOW_S)


def test_a_failure_is_shown_with_its_cures(tmp_path: Path) -> None:
    failure = {"time": NOW_S, "stage": "evaluate", "kind": "failure", "run": "e", **FAILURE}
    write_run(tmp_path, orjson.dumps(failure) + b"\n")
    text = status_text(tmp_path, NOW_S, width=200)
    assert all(part in text for part in [FAILURE["message"], FAILURE["cause"], *FAILURE["cures"]])


def test_text_from_a_log_is_never_markup(tmp_path: Path) -> None:
    line = {"time": NOW_S, "stage": "evaluate", "kind": "failure", "run": "e", "message": "[/red]"}
    write_run(tmp_path, orjson.dumps(line) + b"\n")
    assert "[/red]" in status_text(tmp_path, NOW_S)


def test_a_stage_without_events_is_shown_as_stalled(tmp_path: Path) -> None:
    write_run(tmp_path, drawn_run(NOW_S))
    assert "stalled" in status_text(tmp_path, NOW_S + 3600)


def test_a_log_line_carries_its_local_time(tmp_path: Path) -> None:
    write_run(tmp_path, drawn_run(NOW_S))
    assert time.strftime("%H:%M", time.localtime(NOW_S)) in status_text(tmp_path, NOW_S)


def test_the_end_of_a_stage_is_shown_once(tmp_path: Path) -> None:
    with RunLog("validate", tmp_path / "live") as log:
        log.info("1,310 photos, 12 of them read in this run")
        log.end({"admitted": 1309.0}, "done in 0.2 min")
    rows = status_text(tmp_path, time.time()).splitlines()
    assert [row.split(": ", 1)[1].strip() for row in rows if "validate:" in row] == [
        "1,310 photos, 12 of them read in this run",
        "done in 0.2 min",
    ]


def test_the_repeated_end_line_displaces_no_other(tmp_path: Path) -> None:
    with RunLog("validate", tmp_path / "live") as log:
        for number in range(NUM_LOG_LINES - 1):
            log.info(f"line {number}")
        log.end({}, "done in 0.2 min")
    assert "line 0" in status_text(tmp_path, time.time())


def test_the_same_line_logged_later_is_shown_again(tmp_path: Path) -> None:
    waiting = {"stage": "validate", "kind": "log", "run": "v", "message": "waiting for the disk"}
    write_run(tmp_path, b"".join(orjson.dumps({**waiting, "time": t}) + b"\n" for t in (5.0, 65.0)))
    assert status_text(tmp_path, 70.0).count("waiting for the disk") == 2


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-3, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_durations_have_two_units_at_most(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
