"""Events folded into a state."""

import pytest

from make.monitor_runs import FAILURE, STAGE, event, folded
from pillsnap.monitor import view
from pillsnap.monitor.events import Event
from pillsnap.monitor.state import (
    MOST_LOG_LINES,
    MOST_SAMPLES,
    SAMPLES_FOR_S,
    fold,
    seconds_left,
    share_done,
)


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
    state = folded(event("start", total=2), last)
    stage = state.stages[STAGE]
    late_s = 1.0 + view.STALLED_AFTER_S + 1
    assert view.status_of(stage, 2.0) == status
    assert view.status_of(stage, late_s) == status.replace("running", "stalled")
    assert (stage.failure is None) is (status != "failed")
    assert fold(state, [event("start", run="b")]).stages[STAGE].failure is None


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
    stage = folded(event("start", time=0.0, total=4), *events).stages[STAGE]
    assert seconds_left(stage) == pytest.approx(left_s)


def test_no_time_is_estimated_before_the_pace_has_settled_and_the_configuration_is_kept() -> None:
    step = {"epoch": 1, "total": 100}
    begun = (event("start", total=2, message="lr 0.1"), event("progress", step=1, **step))
    early = folded(*begun, event("progress", time=3.0, step=9, **step)).stages[STAGE]
    late = folded(*begun, event("progress", time=3.0, step=12, **step)).stages[STAGE]
    assert seconds_left(early) is None
    assert seconds_left(late) == pytest.approx(2.0 * (200 - 12) / 11)
    assert late.config == "lr 0.1"


def test_log_lines_and_samples_are_bounded() -> None:
    lines = [event("log", message=str(n)) for n in range(MOST_LOG_LINES + 50)]
    state = folded(*lines)
    assert (len(state.logs), state.num_logs) == (MOST_LOG_LINES, MOST_LOG_LINES + 50)
    sample = {"cpu_pct": 5.0}
    samples = fold(
        state, (event("progress", time=5.0 * n, hardware=sample) for n in range(1800))
    ).samples
    assert len(samples) <= MOST_SAMPLES + 1
    assert samples[-1][0] - samples[0][0] <= SAMPLES_FOR_S  # type: ignore[operator]
    assert samples[0][2:] == (None,) * 5  # no GPU: null, not 0
