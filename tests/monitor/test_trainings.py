"""One training in the history for each that ran, however its lines come."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from make.monitor_runs import (
    STAGE,
    DrawnRun,
    drawn_run,
    event,
    events_of,
    folded,
    state_of,
    training,
)
from pillsnap.monitor.events import Event
from pillsnap.monitor.state import fold
from pillsnap.monitor.trainings import MOST_TRACE_POINTS, MOST_TRAININGS
from pillsnap.places import TRAININGS
from pillsnap.stage.log import RunLog


@pytest.fixture
def run() -> DrawnRun:
    return DrawnRun(np.random.default_rng(0), 1000.0)


def written_by_stages(live_dir: Path) -> list[list[Event]]:
    """Runs of both trainings as RunLog writes them: a line before the start, some unfinished."""
    for stage in (*TRAININGS, *TRAININGS):
        for epochs in (2, 3):
            with RunLog(stage, live_dir) as log:
                log.info("test_resnet, 24 classes, on cpu")
                log.start(3, goals={"goal/top1": 0.85})
                for epoch in range(1, epochs + 1):
                    log.progress(5, 5, epoch, {"loss": 1 / epoch})
                    log.epoch(epoch, 3, {"top1": epoch / 3, "map50": epoch / 4}, {})
                if epochs == 3:
                    log.end({"minutes": 0.1}, "done in 0.1 min")
    return runs_of(events_of((live_dir / "events.jsonl").read_bytes()))


def runs_of(events: list[Event]) -> list[list[Event]]:
    """The events by stage and run, in their order."""
    found: dict[tuple[str, str], list[Event]] = {}
    for one in events:
        found.setdefault((one.stage, one.run), []).append(one)
    return list(found.values())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[list[list[Event]]]:
    """Event files, as lists of runs."""
    return [written_by_stages(tmp_path_factory.mktemp("live")), runs_of(events_of(drawn_run(1e9)))]


@settings(deadline=None)  # the machine may be busy
@given(number=some.integers(0, 1), random=some.randoms(use_true_random=False))
def test_runs_in_any_order_cut_anywhere_are_one_training_each(files, number, random) -> None:
    runs = files[number]
    cut = [run[: random.randint(0, len(run))] for run in runs]
    left = [list(run) for run in cut if run]
    mixed: list[Event] = []
    while left:
        run = random.choice(left)
        taken = random.randint(1, len(run))
        mixed += run[:taken]
        del run[:taken]
        left = [run for run in left if run]
    state = folded(*mixed)
    expected = {
        (run[0].stage, run[0].run): {e.epoch: e.metrics for e in run if e.kind == "epoch"}
        for run in cut
        if run and run[0].stage in TRAININGS
    }
    assert len(state.trainings) == len(expected)
    assert {(t.stage, t.run): t.points for t in state.trainings} == expected
    half = len(mixed) // 2
    assert fold(folded(*mixed[:half]), mixed[half:]) == state


def test_a_log_line_before_the_start_makes_no_second_training() -> None:
    log, start = event("log", time=1.0, message="on cpu"), event("start", time=2.0, total=3)
    state = folded(log, start, event("epoch", epoch=1, total=3))
    assert [(t.run, t.started_s, t.epochs) for t in state.trainings] == [("a", 1.0, 3)]
    assert state.stages[STAGE].started_s == 1.0


def test_a_late_line_of_an_earlier_run_changes_no_stage() -> None:
    new = folded(event("start", run="a", total=3), event("start", run="b", total=5))
    late = fold(new, [event("failure", run="a", message="killed")])
    assert late.stages == new.stages
    assert [(t.run, t.status) for t in late.trainings] == [("a", "failed"), ("b", "running")]


def test_a_late_line_of_a_resumed_run_changes_nothing(run: DrawnRun) -> None:
    training(run, STAGE, "a", epochs=6, until=3)
    training(run, STAGE, "b", epochs=6, until=6, begin=3)
    state = state_of(run)
    assert [(t.run, t.runs, t.started_s, t.status) for t in state.trainings] == [
        ("b", ("a", "b"), 1001.0, "done")
    ]
    late = fold(state, [event("epoch", run="a", epoch=5, total=6), event("end", run="a")])
    assert late.trainings == state.trainings


def test_an_epoch_done_twice_counts_once_with_its_later_metrics(run: DrawnRun) -> None:
    training(run, STAGE, "a", epochs=6, until=3.5)
    training(run, STAGE, "b", epochs=6, until=6, begin=2)
    [curve] = state_of(run).trainings
    lines = [e for e in events_of(run.text()) if e.kind == "epoch" and e.epoch == 3]
    assert (sorted(curve.points), len(lines)) == ([1, 2, 3, 4, 5, 6], 2)
    assert curve.points[3] == lines[-1].metrics


def test_a_fresh_start_leaves_the_former_run_for_comparison(run: DrawnRun) -> None:
    training(run, STAGE, "a", epochs=6, until=3)
    training(run, STAGE, "b", epochs=6, until=6)
    runs = [(t.run, t.status, len(t.points)) for t in state_of(run).trainings]
    assert runs == [("a", "interrupted", 3), ("b", "done", 6)]


def test_old_trainings_are_dropped_past_a_bound() -> None:
    starts = [event("start", run=str(n), total=1) for n in range(3 * MOST_TRAININGS)]
    kept = [t.run for t in folded(*starts).trainings]
    assert kept == [str(n) for n in range(2 * MOST_TRAININGS, 3 * MOST_TRAININGS)]


def test_the_loss_by_step_is_bounded_and_keeps_its_ends() -> None:
    total = 20_000
    steps = (
        event("progress", epoch=1, step=n, total=total, metrics={"loss": float(n)})
        for n in range(1, total + 1)
    )
    trace = fold(folded(event("start", total=1)), steps).stages[STAGE].trace
    assert len(trace) <= MOST_TRACE_POINTS + 1
    assert (trace[0], trace[-1]) == ((1 / total, 1.0), (1.0, float(total)))
