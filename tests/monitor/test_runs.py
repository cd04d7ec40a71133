"""One run in the history for each that ran, in whatever order their lines come."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from make.monitor_runs import STAGE, DrawnRun, event, events_of, folded
from pillsnap.monitor.events import Event
from pillsnap.monitor.runs import MOST_RUNS, StageRun
from pillsnap.monitor.state import State, fold
from pillsnap.places import TRAININGS
from pillsnap.stage.log import RunLog


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[list[Event]]:
    """Runs of both trainings as RunLog writes them: a line before the start, some unfinished."""
    live_dir = tmp_path_factory.mktemp("live")
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
    found: dict[str, list[Event]] = {}
    for one in events_of((live_dir / "events.jsonl").read_bytes()):
        found.setdefault(one.run, []).append(one)
    return list(found.values())


@settings(deadline=None)  # the machine may be busy
@given(random=some.randoms(use_true_random=False))
def test_runs_in_any_order_cut_anywhere_are_one_run_each(written, random) -> None:
    cut = [run[: random.randint(0, len(run))] for run in written]
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
        (run[0].stage, run[0].run): (
            run[0].time_s,
            {e.epoch: e.metrics for e in run if e.kind == "epoch"},
        )
        for run in cut
        if run
    }
    found = [(name, run) for name, stage in state.stages.items() for run in stage.runs]
    assert len(found) == len(expected)
    assert {(name, run.run): (run.started_s, run.points) for name, run in found} == expected
    half = len(mixed) // 2
    assert fold(folded(*mixed[:half]), mixed[half:]) == state


def runs_in(state: State) -> tuple[StageRun, ...]:
    return state.stages[STAGE].runs


def resumed(until: float, begin: int) -> list[Event]:
    """Run "a" until an epoch, then "b" from `begin` to the end."""
    drawn = DrawnRun()
    drawn.train(STAGE, "a", epochs=6, until=until)
    drawn.train(STAGE, "b", epochs=6, until=6, begin=begin)
    return events_of(drawn.text())


def test_a_late_line_of_an_earlier_run_changes_only_that_run() -> None:
    new = folded(event("start", run="a", total=3), event("start", run="b", total=5))
    late = fold(new, [event("failure", run="a", message="killed")])
    assert [(r.run, r.status) for r in runs_in(late)] == [("a", "failed"), ("b", "running")]
    assert replace(late.stages[STAGE], runs=runs_in(new)) == new.stages[STAGE]


def test_a_late_line_of_a_resumed_run_changes_nothing() -> None:
    state = folded(*resumed(until=3, begin=3))
    late = fold(state, [event("epoch", run="a", epoch=5, total=6), event("end", run="a")])
    for runs in (runs_in(state), runs_in(late)):
        assert [(r.run, r.names, r.started_s, r.status) for r in runs] == [
            ("b", ("a", "b"), 1001.0, "done")
        ]


def test_an_epoch_done_twice_counts_once_with_its_later_metrics() -> None:
    events = [replace(e, metrics={"top1": float(n)}) for n, e in enumerate(resumed(3.5, begin=2))]
    [run] = runs_in(folded(*events))
    lines = [e for e in events if e.kind == "epoch" and e.epoch == 3]
    assert (sorted(run.points), len(lines)) == ([1, 2, 3, 4, 5, 6], 2)
    assert run.points[3] == lines[-1].metrics


def test_a_fresh_start_leaves_the_former_run_for_comparison() -> None:
    stage = folded(*resumed(3, begin=0)).stages[STAGE]
    assert stage.started_s == stage.runs[-1].started_s  # of the log line before its start
    runs = [(run.run, run.status, len(run.points)) for run in stage.runs]
    assert runs == [("a", "interrupted", 3), ("b", "done", 6)]


def test_old_runs_are_dropped_past_a_bound() -> None:
    starts = [event("start", run=str(n), total=1) for n in range(3 * MOST_RUNS)]
    kept = [run.run for run in runs_in(folded(*starts))]
    assert kept == [str(n) for n in range(2 * MOST_RUNS, 3 * MOST_RUNS)]
