"""The events so far folded into one State: where each stage stands, curves, hardware, log lines."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from pillsnap.monitor.events import Event
from pillsnap.places import STAGES, TRAININGS

MOST_LOG_LINES = 400
MOST_SAMPLES = 600
SAMPLE_EVERY_S = 6.0
SAMPLES_FOR_S = 3600.0
MOST_RUNS = 8  # trainings kept for comparison, per stage
MOST_TRACE_POINTS = 400
MARKS = 4  # epochs the estimate of the time left looks back on

Numbers = Mapping[str, float | None]
SAMPLED = (
    "cpu_pct",
    "ram_used_mb",
    "gpu_util_pct",
    "gpu_memory_used_mb",
    "gpu_temperature_c",
    "gpu_power_w",
)


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
    """Where a stage stands; `marks` are (seconds, share of the work done) for the time left."""

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
    figures: Numbers = field(default_factory=dict)
    message: str = ""
    failure: Failure | None = None
    marks: tuple[tuple[float, float], ...] = ()
    trace: tuple[tuple[float, float], ...] = ()  # (epochs done as a fraction, loss)


@dataclass(frozen=True, slots=True)
class Training:
    """One training from its first epoch on, over all resumptions: epoch -> metrics."""

    run: str
    stage: str
    started_s: float
    status: str = "running"
    epochs: int | None = None
    points: Mapping[int, Numbers] = field(default_factory=dict)
    figures: Numbers = field(default_factory=dict)


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
    num_samples: int = 0
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
    """Time left as of `updated_s`, at the pace of the last epochs; None where nothing tells."""
    done = share_done(stage)
    if stage.status != "running" or done is None or not stage.marks or stage.updated_s is None:
        return None
    then_s, share_then = stage.marks[0]
    if done <= share_then:
        return None
    return (stage.updated_s - then_s) * (1.0 - done) / (done - share_then)


def _after(state: State, event: Event) -> State:
    before = state.stages[event.stage]
    if event.kind == "start" or event.run != before.run:
        before = StageState(status="running", run=event.run, started_s=event.time_s)
        state = _open_training(state, event)
    stage = replace(_STEPS[event.kind](before, event), updated_s=event.time_s)
    state = replace(
        state,
        stages={**state.stages, event.stage: stage},
        num_events=state.num_events + 1,
    )
    if event.stage in TRAININGS and event.kind in ("epoch", "end", "failure"):
        state = _mark_training(state, event, stage)
    return _with_hardware(_with_log(state, event), event)


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
        stage = replace(stage, trace=_thinned(stage.trace, (done * stage.epochs, loss)))
    return stage


def _epoch(stage: StageState, event: Event) -> StageState:
    epochs = event.total or stage.epochs
    marks = stage.marks
    if epochs and event.epoch:
        marks = (*marks, (event.time_s, event.epoch / epochs))[-MARKS:]
    return replace(
        stage,
        status="running",
        failure=None,
        epoch=event.epoch,
        epochs_done=event.epoch or stage.epochs_done,
        epochs=epochs,
        step=stage.total,
        metrics={**stage.metrics, **event.metrics},
        marks=marks,
    )


def _failure(stage: StageState, event: Event) -> StageState:
    failure = Failure(event.time_s, event.message, event.cause, event.cures)
    return replace(stage, status="failed", failure=failure, ended_s=event.time_s)


def _end(stage: StageState, event: Event) -> StageState:
    return replace(
        stage,
        status="done",
        failure=None,
        ended_s=event.time_s,
        figures=event.metrics,
        message=event.message,
    )


_STEPS: Mapping[str, Callable[[StageState, Event], StageState]] = MappingProxyType(
    {
        "start": _start,
        "progress": _progress,
        "epoch": _epoch,
        "log": lambda stage, _: stage,
        "failure": _failure,
        "end": _end,
    }
)


def _open_training(state: State, event: Event) -> State:
    if event.stage not in TRAININGS:
        return state
    fresh = Training(event.run, event.stage, event.time_s, epochs=event.total)
    others = state.trainings
    if event.kind == "start" and event.epoch:
        continued = next((t for t in reversed(others) if _can_continue(t, event)), None)
        if continued is not None:  # a resumption: the same training goes on under a new run
            points = {n: p for n, p in continued.points.items() if n <= event.epoch}
            fresh = replace(fresh, started_s=continued.started_s, points=points)
            others = tuple(t for t in others if t is not continued)
    # A training that never said how it ended was killed.
    others = tuple(
        replace(t, status="interrupted") if t.stage == event.stage and t.status == "running" else t
        for t in others
    )
    mine = [t for t in others if t.stage == event.stage]
    dropped = set(map(id, mine[: max(len(mine) - MOST_RUNS + 1, 0)]))
    return replace(state, trainings=(*(t for t in others if id(t) not in dropped), fresh))


def _can_continue(training: Training, event: Event) -> bool:
    return training.stage == event.stage and event.epoch in training.points


def _mark_training(state: State, event: Event, stage: StageState) -> State:
    def marked(training: Training) -> Training:
        if (training.stage, training.run) != (event.stage, event.run):
            return training
        if event.kind == "epoch" and event.epoch:
            points = {**training.points, event.epoch: event.metrics}
            return replace(training, points=points, epochs=stage.epochs, status="running")
        figures = event.metrics if event.kind == "end" else training.figures
        return replace(training, status=stage.status, figures=figures)

    return replace(state, trainings=tuple(map(marked, state.trainings)))


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
    return replace(state, samples=samples, num_samples=state.num_samples + 1)


def _thinned(
    trace: tuple[tuple[float, float], ...], point: tuple[float, float]
) -> tuple[tuple[float, float], ...]:
    if trace and point[0] < trace[-1][0]:  # the epoch began anew
        trace = tuple(old for old in trace if old[0] < point[0])
    if len(trace) > 2 and point[0] - trace[-2][0] < _spacing(trace):
        return (*trace[:-1], point)  # too near its neighbour: the newest point moves on instead
    if len(trace) >= MOST_TRACE_POINTS:
        trace = trace[::2]
    return (*trace, point)


def _spacing(trace: tuple[tuple[float, float], ...]) -> float:
    return (trace[-1][0] - trace[0][0]) / MOST_TRACE_POINTS
