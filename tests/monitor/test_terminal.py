"""The status in the terminal."""

import time
from pathlib import Path

import pytest
from rich.console import Console

from make.monitor_runs import FAILURE, drawn_run, line, write_run
from pillsnap.monitor.folder import RunFolder
from pillsnap.monitor.terminal import NUM_LOG_LINES, duration, status
from pillsnap.stage.log import RunLog

NOW_S = 1e9


def status_text(artifacts_dir: Path, now_s: float = NOW_S, width: int = 200) -> str:
    console = Console(width=width, no_color=True, force_terminal=False)
    with console.capture() as capture:
        console.print(status(RunFolder(artifacts_dir), now_s))
    return capture.get()


def test_a_run_in_the_middle_is_shown_and_before_any_how_to_start(tmp_path: Path) -> None:
    assert "pillsnap train" in status_text(tmp_path)
    write_run(tmp_path, drawn_run(NOW_S, gpu=True))
    shown = ["train_detection", "18/18", "12/18 step 11/20", "64%", "(goal 0.85)", "CPU"]
    shown += ["RTX 5080", "data checks: 3 pass, 1 warn, 0 fail (frames decode)"]
    shown += [time.strftime("%H:%M", time.localtime(NOW_S))]
    text = status_text(tmp_path)
    assert [part for part in shown if part not in text] == []
    assert "stalled" in status_text(tmp_path, NOW_S + 3600)


def test_without_a_gpu_the_stages_fit_a_narrow_terminal(tmp_path: Path) -> None:
    write_run(tmp_path, drawn_run(NOW_S))
    text = status_text(tmp_path, width=80)
    assert "GPU none" in text
    rows = [row for row in text.splitlines() if row.startswith("train_classification ")]
    [row] = [row for row in rows if "running" in row]
    assert row.rstrip().endswith("left")


def test_a_failure_is_shown_with_its_cures(tmp_path: Path) -> None:
    write_run(tmp_path, line(kind="failure", time=NOW_S, **FAILURE | {"cause": "[/red]"}))
    text = status_text(tmp_path)
    assert all(part in text for part in [FAILURE["message"], "[/red]", *FAILURE["cures"]])
    assert "data checks (from an earlier run): 3 pass" in text  # no validate in this log


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
