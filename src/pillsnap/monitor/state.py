"""The events so far, folded into one State: progress of the stages, hardware, log lines."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from pillsnap.monitor.events import Event
from pillsnap.monitor.trainings import Numbers, Trace, Training, opened, thinned, updated
from pillsnap.places import STAGES, TRAININGS

MOST_LOG_LINES = 400
MOST_SAMPLES = 600
SAMPLE_EVERY_S = 6.0
SAMPLES_FOR_S = 3600.0
MOST_EARLIER = 8  # runs of a stage whose late lines are recognised
MARKS = 4  # epochs that the time left is estimated from

SAMPLED = (
    "cpu_pct", "ram_used_mb",
    "gpu_util_pct", "gpu_memory_used_mb", "gpu_temperature_c", "gpu_power_w",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a stage ended early, and what to do about it."""

    time_s: float
    message: str
    cause: str
    cures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LogLine:
    """One human line; `number` counts all lines ever read."""

    number: int
    time_s: float
    stage: str
    level: str
    message: str


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
    failure: Failure | None = None
    marks: tuple[tuple[float, float], ...] = ()
    trace: Trace = ()
    earlier: tuple[str, ...] = ()  # runs before this one


@dataclass(frozen=True, slots=True)
class State:
    """Everything the page, the API and the terminal show that comes from events."""

    stages: Mapping[str, StageState] = field(
        default_factory=lambda: {name: StageState() for name in STAGES}
    )
    trainings: tuple[Training, ...] = ()
    logs: tuple[LogLine, ...] = ()
    num_logs: int = 0
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
    if done <= share_then:
        return None
    return (stage.updated_s - then_s) * (1.0 - done) / (done - share_then)


def _after(state: State, event: Event) -> State:
    stage, trainings = state.stages[event.stage], state.trainings
    if event.kind == "start" or event.run not in (stage.run, *stage.earlier):
        stage = _begun(stage, event)
    if event.run == stage.run:
        step = _STEPS.get(event.kind)  # none for log lines
        stage = replace(step(stage, event) if step else stage, updated_s=event.time_s)
    if event.stage in TRAININGS:
        trainings = updated(opened(trainings, event), event)
    state = replace(
        state,
        stages={**state.stages, event.stage: stage},
        trainings=trainings,
        num_events=state.num_events + 1,
    )
    return _with_hardware(_with_log(state, event), event)


def _begun(stage: StageState, event: Event) -> StageState:
    """The stage at the first event of a run, or at its start, before which it may log."""
    if event.run == stage.run:
        return StageState("running", event.run, stage.started_s, earlier=stage.earlier)
    others = [run for run in (*stage.earlier, stage.run) if run not in ("", event.run)]
    earlier = tuple(others[-MOST_EARLIER:])
    return StageState("running", event.run, event.time_s, earlier=earlier)


def _start(stage: StageState, event: Event) -> StageState:
    goals = {
        name.removeprefix("goal/"): value
        for name, value in event.metrics.items()
        if name.startswith("goal/") and value is not None
    }
    if event.stage not in TRAININGS:
        return replace(stage, total=event.total, goals=goals)
    done = event.epoch or 0
    return replace(stage, epoch=done, epochs_done=done, epochs=event.total, goals=goals)


def _progress(stage: StageState, event: Event) -> StageState:
    stage = replace(
        stage,
        status="running",
        failure=None,
        ended_s=None,
        epoch=event.epoch if event.epoch is not None else stage.epoch,
        epochs_done=event.epoch - 1 if event.epoch else stage.epochs_done,
        step=event.step,
        total=event.total,
        metrics={**stage.metrics, **event.metrics},
    )
    done, loss = share_done(stage), event.metrics.get("loss")
    if not stage.marks and done is not None:
        stage = replace(stage, marks=((event.time_s, done),))
    if done is not None and stage.epochs and loss is not None:
        stage = replace(stage, trace=thinned(stage.trace, (done * stage.epochs, loss)))
    return stage


def _epoch(stage: StageState, event: Event) -> StageState:
    epochs = event.total or stage.epochs
    new = ((event.time_s, event.epoch / epochs),) if epochs and event.epoch else ()
    return replace(
        stage,
        status="running",
        failure=None,
        epoch=event.epoch,
        epochs_done=event.epoch or stage.epochs_done,
        epochs=epochs,
        step=stage.total,
        metrics={**stage.metrics, **event.metrics},
        marks=(*stage.marks, *new)[-MARKS:],
    )


def _failure(stage: StageState, event: Event) -> StageState:
    failure = Failure(event.time_s, event.message, event.cause, event.cures)
    return replace(stage, status="failed", failure=failure, ended_s=event.time_s)


def _end(stage: StageState, event: Event) -> StageState:
    done = replace(stage, status="done", failure=None, ended_s=event.time_s)
    return replace(done, result=event.metrics, message=event.message)


_STEPS: Mapping[str, Callable[[StageState, Event], StageState]] = MappingProxyType(
    {"start": _start, "progress": _progress, "epoch": _epoch, "failure": _failure, "end": _end}
)


def _with_log(state: State, event: Event) -> State:
    if not event.message or event.kind in ("progress", "epoch", "end"):  # end: a log line follows
        return state
    level = "ERROR" if event.kind == "failure" else event.level
    line = LogLine(state.num_logs, event.time_s, event.stage, level, event.message)
    logs = (*state.logs, line)[-MOST_LOG_LINES:]
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
    samples = (*recent, row)[-MOST_SAMPLES:]
    return replace(state, samples=samples)
