"""Events folded into a state, and the state as JSON."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from make.monitor_runs import FAILURE, DrawnRun, drawn_run, events_of, training
from pillsnap.monitor import view
from pillsnap.monitor.events import Event, parse
from pillsnap.monitor.state import (
    MOST_LOG_LINES,
    MOST_RUNS,
    MOST_SAMPLES,
    MOST_TRACE_POINTS,
    SAMPLES_FOR_S,
    State,
    fold,
    seconds_left,
    share_done,
)

STAGE = "train_classification"


def event(kind: str, time: float = 1.0, run: str = "a", stage: str = STAGE, **rest: Any) -> Event:
    empty = {"epoch": None, "step": None, "total": None, "metrics": {}, "hardware": {}}
    line = {**empty, "time": time, "stage": stage, "kind": kind, "run": run, **rest}
    parsed = parse(orjson.dumps({"message": "", "level": "INFO", **line}))
    assert parsed is not None
    return parsed


def folded(*events: Event) -> State:
    return fold(State(), events)


@pytest.fixture
def run() -> DrawnRun:
    return DrawnRun(np.random.default_rng(0), 1000.0)


def state_of(run: DrawnRun) -> State:
    return fold(State(), events_of(run.text()))


def test_before_any_event_all_stages_are_idle() -> None:
    assert {stage.status for stage in State().stages.values()} == {"idle"}


def test_fold_changes_neither_argument() -> None:
    before = folded(event("start", total=3))
    fold(before, [event("end", time=2.0)])
    assert before.stages[STAGE].status == "running"


@pytest.mark.parametrize(
    ("last", "status"),
    [
        (event("progress", epoch=1, step=1, total=2), "running"),
        (event("epoch", epoch=1, total=2), "running"),
        (event("log", message="x"), "running"),
        (event("failure", **FAILURE), "failed"),
        (event("end"), "done"),
    ],
)
def test_the_last_event_tells_the_status(last: Event, status: str) -> None:
    assert folded(event("start", total=2), last).stages[STAGE].status == status


def test_a_running_stage_without_word_is_stalled() -> None:
    stage = folded(event("start", time=100.0)).stages[STAGE]
    late_s = 100.0 + view.STALLED_AFTER_S + 1
    assert (view.status_of(stage, 101.0), view.status_of(stage, late_s)) == ("running", "stalled")


def test_a_finished_stage_never_stalls() -> None:
    assert view.status_of(folded(event("start"), event("end")).stages[STAGE], 1e9) == "done"


def test_the_share_done_counts_epochs_and_the_steps_of_the_one_under_way() -> None:
    inside = event("progress", epoch=3, step=5, total=10)
    assert share_done(folded(event("start", total=10), inside).stages[STAGE]) == 0.25


def test_a_complete_epoch_counts_whole() -> None:
    stage = folded(event("start", total=10), event("epoch", epoch=3, total=10)).stages[STAGE]
    assert share_done(stage) == pytest.approx(0.3)


def test_a_resumed_training_begins_with_the_epochs_it_has() -> None:
    assert share_done(folded(event("start", epoch=6, total=12)).stages[STAGE]) == 0.5


def test_other_stages_count_units() -> None:
    start = event("start", stage="validate", total=200)
    half = event("progress", stage="validate", step=100, total=200)
    assert share_done(folded(start, half).stages["validate"]) == 0.5


def test_the_time_left_follows_the_pace() -> None:
    stage = folded(
        event("start", time=0.0, total=4),
        event("progress", time=10.0, epoch=1, step=0, total=10),
        event("epoch", time=20.0, epoch=1, total=4),
    ).stages[STAGE]
    assert seconds_left(stage) == pytest.approx(30.0)


def test_the_time_left_forgets_a_slow_beginning() -> None:
    epochs = [event("epoch", time=1000.0 + 10 * n, epoch=n, total=20) for n in range(1, 11)]
    start = event("start", time=0.0, total=20), event("progress", epoch=1, step=0, total=9)
    assert seconds_left(folded(*start, *epochs).stages[STAGE]) == pytest.approx(100.0)


def test_without_progress_no_time_left_is_made_up() -> None:
    assert seconds_left(folded(event("start", total=4)).stages[STAGE]) is None


def test_goals_are_those_of_the_start_line() -> None:
    metrics = {"goal/top1": 0.85, "goal/minutes": 120.0, "other": 1.0}
    goals = folded(event("start", metrics=metrics)).stages[STAGE].goals
    assert goals == {"top1": 0.85, "minutes": 120.0}


def test_a_failure_keeps_its_cause_and_cures() -> None:
    failure = folded(event("start"), event("failure", **FAILURE)).stages[STAGE].failure
    assert failure is not None
    assert [failure.message, failure.cause, list(failure.cures)] == list(FAILURE.values())


def test_a_new_start_clears_the_failure() -> None:
    state = folded(event("start"), event("failure", **FAILURE), event("start", run="b"))
    assert state.stages[STAGE].failure is None


def test_a_null_metric_stays_null() -> None:
    state = folded(event("start"), event("epoch", epoch=1, total=2, metrics={"top1": None}))
    assert state.trainings[0].points[1] == {"top1": None}


def test_an_epoch_told_twice_counts_once_with_its_later_figures(run: DrawnRun) -> None:
    training(run, STAGE, "a", epochs=6, until=3.5)
    training(run, STAGE, "b", epochs=6, until=6, begin=2)
    [curve] = state_of(run).trainings
    lines = [e for e in events_of(run.text()) if e.kind == "epoch" and e.epoch == 3]
    assert (sorted(curve.points), len(lines)) == ([1, 2, 3, 4, 5, 6], 2)
    assert curve.points[3] == lines[-1].metrics


def test_a_resumption_keeps_the_first_start(run: DrawnRun) -> None:
    training(run, STAGE, "a", epochs=6, until=3)
    training(run, STAGE, "b", epochs=6, until=6, begin=3)
    assert [(t.run, t.started_s, t.status) for t in state_of(run).trainings] == [
        ("b", 1001.0, "done")
    ]


def test_a_fresh_start_makes_the_former_run_one_to_compare_with(run: DrawnRun) -> None:
    training(run, STAGE, "a", epochs=6, until=3)
    training(run, STAGE, "b", epochs=6, until=6)
    runs = [(t.run, t.status, len(t.points)) for t in state_of(run).trainings]
    assert runs == [("a", "interrupted", 3), ("b", "done", 6)]


def test_the_two_trainings_do_not_mix(run: DrawnRun) -> None:
    training(run, "train_detection", "d", epochs=3, until=3)
    training(run, STAGE, "c", epochs=5, until=2)
    state = state_of(run)
    assert [state.stages[s].epoch for s in ("train_detection", STAGE)] == [3, 2]
    assert "map50" not in state.stages[STAGE].metrics


def test_a_log_without_its_beginning_is_followed_all_the_same() -> None:
    stage = folded(event("progress", epoch=4, step=1, total=9)).stages[STAGE]
    assert (stage.status, stage.epoch) == ("running", 4)


def test_old_runs_are_dropped_past_a_bound() -> None:
    starts = [event("start", run=str(n), total=1) for n in range(3 * MOST_RUNS)]
    kept = [t.run for t in folded(*starts).trainings]
    assert kept == [str(n) for n in range(2 * MOST_RUNS, 3 * MOST_RUNS)]


def test_log_lines_are_bounded_and_numbered_on() -> None:
    lines = [event("log", message=str(n)) for n in range(MOST_LOG_LINES + 50)]
    logs = folded(*lines).logs
    assert (len(logs), logs[-1].number) == (MOST_LOG_LINES, MOST_LOG_LINES + 49)


def test_samples_are_spaced_and_bounded_to_the_last_hour() -> None:
    sample = {"cpu_pct": 5.0}
    each_second = [event("progress", time=float(n), hardware=sample) for n in range(9000)]
    samples = folded(*each_second).samples
    assert len(samples) <= MOST_SAMPLES + 1
    assert samples[-1][0] - samples[0][0] <= SAMPLES_FOR_S  # type: ignore[operator]


def test_without_a_gpu_its_figures_are_null_and_not_zero() -> None:
    state = folded(event("progress", hardware={"cpu_pct": 5.0}))
    assert state.samples[0] == (1.0, 5.0, None, None, None, None, None)


def test_the_loss_by_step_is_bounded_and_keeps_its_ends() -> None:
    total = 20_000
    steps = (
        event("progress", epoch=1, step=n, total=total, metrics={"loss": float(n)})
        for n in range(1, total + 1)
    )
    trace = fold(folded(event("start", total=1)), steps).stages[STAGE].trace
    assert len(trace) <= MOST_TRACE_POINTS + 1
    assert (trace[0], trace[-1]) == ((1 / total, 1.0), (1.0, float(total)))


def test_the_view_is_json_and_deterministic() -> None:
    state = fold(State(), events_of(drawn_run(1e9, gpu=True)))
    texts = {orjson.dumps(view.of(state, 1e9)) for _ in range(2)}
    assert len(texts) == 1


def test_an_empty_page_tells_where_it_looks() -> None:
    path = Path("/somewhere/artifacts/demo/live/events.jsonl")
    source = view.source(path, State(), 0, "")
    assert source["path"] == "artifacts/demo/live/events.jsonl"
