"""Events folded into a state, and the state as JSON."""

from pathlib import Path

import numpy as np
import orjson
import pytest

from make.monitor_runs import (
    FAILURE,
    STAGE,
    DrawnRun,
    drawn_run,
    event,
    events_of,
    folded,
    state_of,
    training,
)
from pillsnap.monitor import view
from pillsnap.monitor.events import Event
from pillsnap.monitor.state import (
    MOST_LOG_LINES,
    MOST_SAMPLES,
    SAMPLES_FOR_S,
    State,
    fold,
    seconds_left,
    share_done,
)


@pytest.fixture
def run() -> DrawnRun:
    return DrawnRun(np.random.default_rng(0), 1000.0)


def test_fold_changes_neither_argument() -> None:
    before = folded(event("start", total=3))
    fold(before, [event("end", time=2.0)])
    assert before.stages[STAGE].status == "running"
    assert {stage.status for stage in State().stages.values()} == {"idle"}


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
def test_the_last_event_decides_the_status(last: Event, status: str) -> None:
    assert folded(event("start", total=2), last).stages[STAGE].status == status


def test_a_running_stage_without_events_is_stalled() -> None:
    stage = folded(event("start", time=100.0)).stages[STAGE]
    late_s = 100.0 + view.STALLED_AFTER_S + 1
    assert (view.status_of(stage, 101.0), view.status_of(stage, late_s)) == ("running", "stalled")
    assert view.status_of(folded(event("start"), event("end")).stages[STAGE], 1e9) == "done"


VALIDATE = event("start", stage="validate", total=200)


@pytest.mark.parametrize(
    ("events", "share"),
    [
        ([event("start", total=10), event("progress", epoch=3, step=5, total=10)], 0.25),
        ([event("start", total=10), event("epoch", epoch=3, total=10)], 0.3),
        ([event("start", epoch=6, total=12)], 0.5),  # resumed
        ([VALIDATE, event("progress", stage="validate", step=100, total=200)], 0.5),  # units
        ([event("progress", epoch=4, step=1, total=9)], 1 / 9),  # without its start
    ],
)
def test_the_share_done_counts_epochs_and_steps_or_units(events, share: float) -> None:
    state = folded(*events)
    assert state.stages[events[-1].stage].status == "running"
    assert share_done(state.stages[events[-1].stage]) == pytest.approx(share)


START = event("progress", time=10.0, epoch=1, step=0, total=10)
EPOCHS = [event("epoch", time=1000.0 + 10 * n, epoch=n, total=20) for n in range(1, 11)]


@pytest.mark.parametrize(
    ("events", "left_s"),
    [
        ([], None),
        ([START, event("epoch", time=20.0, epoch=1, total=4)], 30.0),
        ([START, *EPOCHS], 100.0),  # a slow start does not count
    ],
)
def test_the_time_left_follows_the_pace(events, left_s: float | None) -> None:
    assert seconds_left(
        folded(event("start", time=0.0, total=4), *events).stages[STAGE]
    ) == pytest.approx(left_s)


def test_goals_are_those_of_the_start_line() -> None:
    metrics = {"goal/top1": 0.85, "goal/minutes": 120.0, "other": 1.0}
    goals = folded(event("start", metrics=metrics)).stages[STAGE].goals
    assert goals == {"top1": 0.85, "minutes": 120.0}


def test_a_failure_keeps_its_cause_and_cures_until_a_new_start() -> None:
    state = folded(event("start"), event("failure", **FAILURE))
    failure = state.stages[STAGE].failure
    assert failure is not None
    assert [failure.message, failure.cause, list(failure.cures)] == list(FAILURE.values())
    assert fold(state, [event("start", run="b")]).stages[STAGE].failure is None


def test_a_null_metric_stays_null() -> None:
    state = folded(event("start"), event("epoch", epoch=1, total=2, metrics={"top1": None}))
    assert state.trainings[0].points[1] == {"top1": None}


def test_the_two_trainings_do_not_mix(run: DrawnRun) -> None:
    training(run, "train_detection", "d", epochs=3, until=3)
    training(run, STAGE, "c", epochs=5, until=2)
    state = state_of(run)
    assert [state.stages[s].epoch for s in ("train_detection", STAGE)] == [3, 2]
    assert "map50" not in state.stages[STAGE].metrics


def test_log_lines_are_bounded_and_keep_their_numbers() -> None:
    lines = [event("log", message=str(n)) for n in range(MOST_LOG_LINES + 50)]
    logs = folded(*lines).logs
    assert (len(logs), logs[-1].number) == (MOST_LOG_LINES, MOST_LOG_LINES + 49)


def test_samples_are_spaced_and_bounded_to_the_last_hour() -> None:
    sample = {"cpu_pct": 5.0}
    each_second = [event("progress", time=float(n), hardware=sample) for n in range(9000)]
    samples = folded(*each_second).samples
    assert len(samples) <= MOST_SAMPLES + 1
    assert samples[-1][0] - samples[0][0] <= SAMPLES_FOR_S  # type: ignore[operator]


def test_without_a_gpu_its_readings_are_null_and_not_zero() -> None:
    state = folded(event("progress", hardware={"cpu_pct": 5.0}))
    assert state.samples[0] == (1.0, 5.0, None, None, None, None, None)


def test_the_view_is_json_and_deterministic() -> None:
    state = fold(State(), events_of(drawn_run(1e9, gpu=True)))
    texts = {orjson.dumps(view.of(state, 1e9)) for _ in range(2)}
    assert len(texts) == 1


def test_the_source_is_the_path_from_the_artifacts_folder() -> None:
    path = Path("/somewhere/artifacts/demo/live/events.jsonl")
    source = view.source(path, State(), 0, "")
    assert source["path"] == "artifacts/demo/live/events.jsonl"
