"""The status in the terminal."""

import time
from pathlib import Path

import pytest

from make.monitor_runs import FAILURE, drawn_run, line, write_run
from pillsnap.monitor.terminal import NUM_LOG_LINES, duration, status_text
from pillsnap.stage.log import RunLog

NOW_S = 1e9


def test_before_anything_ran_it_says_how_to_start(tmp_path: Path) -> None:
    assert "pillsnap train" in status_text(tmp_path, NOW_S)


@pytest.mark.parametrize(
    ("shown", "later_s"),
    [
        *((word, 0) for word in ("train_detection", "18/18", "12/18 step 11/20", "64%")),
        *((word, 0) for word in ("(goal 0.85)", "CPU", "RTX 5080")),
        ("3 pass, 1 warn, 0 fail (frames decode)", 0),
        (time.strftime("%H:%M", time.localtime(NOW_S)), 0),
        ("stalled", 3600),
    ],
)
def test_a_run_in_the_middle_is_shown(tmp_path: Path, shown: str, later_s: int) -> None:
    write_run(tmp_path, drawn_run(NOW_S, gpu=True))
    assert shown in status_text(tmp_path, NOW_S + later_s, width=200)


def test_without_a_gpu_the_stages_fit_a_narrow_terminal(tmp_path: Path) -> None:
    write_run(tmp_path, drawn_run(NOW_S))
    text = status_text(tmp_path, NOW_S, width=80)
    assert "GPU none" in text
    rows = [row for row in text.splitlines() if row.startswith("train_classification ")]
    [row] = [row for row in rows if "running" in row]
    assert row.rstrip().endswith("left")


def test_a_failure_is_shown_with_its_cures(tmp_path: Path) -> None:
    write_run(tmp_path, line(kind="failure", time=NOW_S, **FAILURE | {"cause": "[/red]"}))
    text = status_text(tmp_path, NOW_S, width=200)
    assert all(part in text for part in [FAILURE["message"], "[/red]", *FAILURE["cures"]])


def test_the_end_of_a_stage_is_shown_once_and_displaces_no_line(tmp_path: Path) -> None:
    with RunLog("validate", tmp_path / "live") as log:
        for number in range(NUM_LOG_LINES - 1):
            log.info(f"line {number}")
        log.end({"admitted": 1309.0}, "done in 0.2 min")
    text = status_text(tmp_path, time.time())
    assert (text.count("line 0"), text.count("done in 0.2 min")) == (1, 1)


def test_the_same_line_logged_later_is_shown_again(tmp_path: Path) -> None:
    logged = [line(kind="log", message="waiting for the disk", time=t) for t in (5.0, 65.0)]
    write_run(tmp_path, b"".join(logged))
    assert status_text(tmp_path, 70.0).count("waiting for the disk") == 2


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-3, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_durations_have_two_units_at_most(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
