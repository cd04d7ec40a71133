"""The events so far, folded into one State: progress of the stages, hardware, log lines."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from pillsnap.monitor.events import Event
from pillsnap.monitor.runs import Numbers, Runs, advanced, opened
from pillsnap.places import STAGES, TRAININGS

MOST_LOG_LINES = 400
MOST_SAMPLES = 600
SAMPLE_EVERY_S = 6.0
SAMPLES_FOR_S = 3600.0
MARKS = 4  # epochs that the time left is estimated from
SETTLED = 0.1  # of an epoch, or of a stage without epochs: no time left is estimated before

SAMPLED = (
    "cpu_pct", "ram_used_mb",
    "gpu_util_pct", "gpu_memory_used_mb", "gpu_temperature_c", "gpu_power_w",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class StageState:
    """Progress of a stage; `marks` are (seconds, share of the work done), for the time left."""

    status: str = "idle"  # idle, running, done, failed
    run: str = ""
    started_s: float | None = None
    updated_s: float | None = None
    ended_s: float | None = None
    epoch: int | None = None
    epochs_done: int = 0
    epochs: int | None = None
    step: int | None = None
    total: int | None = None
    metrics: Numbers = field(default_factory=dict)
    goals: Numbers = field(default_factory=dict)
    result: Numbers = field(default_factory=dict)
    message: str = ""
    config: str = ""  # of a training: parameters, seed, revision
    failure: Event | None = None
    marks: tuple[tuple[float, float], ...] = ()
    runs: Runs = ()  # this one is the last


@dataclass(frozen=True, slots=True)
class State:
    stages: Mapping[str, StageState] = field(
        default_factory=lambda: {name: StageState() for name in STAGES}
    )
    logs: tuple[Event, ...] = ()
    num_logs: int = 0  # all lines ever read
    hardware: Mapping[str, float | str] = field(default_factory=dict)
    hardware_time_s: float | None = None
    samples: tuple[tuple[float | None, ...], ...] = ()  # time, then SAMPLED
    num_events: int = 0


def fold(state: State, events: Iterable[Event]) -> State:
    """The state after `events`; neither argument is changed."""
    for event in events:
        state = _after(state, event)
    return state


def share_done(stage: StageState) -> float | None:
    """How much of the stage's work is done, 0 to 1, or None where the total is unknown."""
    inside = min(stage.step / stage.total, 1.0) if stage.step is not None and stage.total else None
    if not stage.epochs:
        return inside
    under_way = stage.epoch is not None and stage.epoch > stage.epochs_done
    return min((stage.epochs_done + (inside or 0.0) * under_way) / stage.epochs, 1.0)


def seconds_left(stage: StageState) -> float | None:
    """Time left as of `updated_s`, at the pace of the last epochs; None where it is unknown."""
    done = share_done(stage)
    if stage.status != "running" or done is None or not stage.marks or stage.updated_s is None:
        return None
    then_s, share_then = stage.marks[0]
    if done - share_then < SETTLED / (stage.epochs or 1):
        return None
    return (stage.updated_s - then_s) * (1.0 - done) / (done - share_then)


def _after(state: State, event: Event) -> State:
    stage = state.stages[event.stage]
    if event.kind == "start" or not any(event.run in run.names for run in stage.runs):
        # A run may log before its start.
        started_s = stage.started_s if event.run == stage.run else event.time_s
        stage = StageState("running", event.run, started_s, runs=opened(stage.runs, event))
    if event.run == stage.run:
        step = _STEPS.get(event.kind)  # none for log lines
        stage = replace(step(stage, event) if step else stage, updated_s=event.time_s)
    stages = {**state.stages, event.stage: replace(stage, runs=advanced(stage.runs, event))}
    state = replace(state, stages=stages, num_events=state.num_events + 1)
    return _with_hardware(_with_log(state, event), event)


def _start(stage: StageState, event: Event) -> StageState:
    found = event.metrics.items()
    goals = {name[5:]: v for name, v in found if name.startswith("goal/") and v is not None}
    if event.stage not in TRAININGS:
        return replace(stage, total=event.total, goals=goals)
    stage, done = replace(stage, config=event.message), event.epoch or 0
    return replace(stage, epoch=done, epochs_done=done, epochs=event.total, goals=goals)


def _running(stage: StageState, event: Event, epochs_done: int | None) -> StageState:
    return replace(
        stage,
        status="running",
        failure=None,
        ended_s=None,
        epoch=stage.epoch if event.epoch is None else event.epoch,
        epochs_done=stage.epochs_done if epochs_done is None else epochs_done,
        metrics={**stage.metrics, **event.metrics},
    )


def _progress(stage: StageState, event: Event) -> StageState:
    stage = _running(stage, event, event.epoch - 1 if event.epoch else None)
    stage = replace(stage, step=event.step, total=event.total)
    done = share_done(stage)
    if stage.marks or done is None:
        return stage
    return replace(stage, marks=((event.time_s, done),))


def _epoch(stage: StageState, event: Event) -> StageState:
    epochs = event.total or stage.epochs
    new = ((event.time_s, event.epoch / epochs),) if epochs and event.epoch else ()
    stage = _running(stage, event, event.epoch)
    return replace(stage, epochs=epochs, step=stage.total, marks=(*stage.marks, *new)[-MARKS:])


def _failure(stage: StageState, event: Event) -> StageState:
    return replace(stage, status="failed", failure=event, ended_s=event.time_s)


def _end(stage: StageState, event: Event) -> StageState:
    done = replace(stage, status="done", failure=None, ended_s=event.time_s)
    return replace(done, result=event.metrics, message=event.message)


_STEPS: Mapping[str, Callable[[StageState, Event], StageState]] = {
    "start": _start, "progress": _progress, "epoch": _epoch, "failure": _failure, "end": _end,
}  # fmt: skip


def _with_log(state: State, event: Event) -> State:
    if not event.message or event.kind in ("progress", "epoch", "end"):  # end: a log line follows
        return state
    logs = (*state.logs, event)[-MOST_LOG_LINES:]
    return replace(state, logs=logs, num_logs=state.num_logs + 1)


def _with_hardware(state: State, event: Event) -> State:
    if not event.hardware or event.kind == "epoch":  # an epoch's hardware is a mean, not now
        return state
    state = replace(state, hardware=event.hardware, hardware_time_s=event.time_s)
    last_s = state.samples[-1][0] if state.samples else None
    if last_s is not None and 0 <= event.time_s - last_s < SAMPLE_EVERY_S:
        return state
    values = (event.hardware.get(name) for name in SAMPLED)
    row = (event.time_s, *(v if isinstance(v, float) else None for v in values))
    recent = (old for old in state.samples if 0 <= event.time_s - (old[0] or 0.0) <= SAMPLES_FOR_S)
    return replace(state, samples=(*recent, row)[-MOST_SAMPLES:])
