"""The trainings in the event log, one for each, however often it was resumed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pillsnap.monitor.events import Event

MOST_TRAININGS = 8  # kept for comparison, per stage
MOST_TRACE_POINTS = 400

Numbers = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Training:
    """One training from its first epoch on; `runs` are all that belong to it, `run` the last."""

    run: str
    stage: str
    started_s: float
    status: str = "running"  # running, interrupted, done, failed
    epochs: int | None = None
    points: Mapping[int, Numbers] = field(default_factory=dict)  # epoch -> metrics
    result: Numbers = field(default_factory=dict)
    runs: tuple[str, ...] = ()


Trainings = tuple[Training, ...]
Trace = tuple[tuple[float, float], ...]  # (epochs done as a fraction, loss)


def opened(trainings: Trainings, event: Event) -> Trainings:
    """The trainings once the run of `event` is among them, and at its end where it starts.

    A run is entered once: log lines come before its start, and old lines may come late.
    """
    own = next((t for t in trainings if t.stage == event.stage and event.run in t.runs), None)
    if own is not None and event.kind != "start":
        return trainings
    new = Training(event.run, event.stage, event.time_s, runs=(event.run,))
    new = replace(own or new, run=event.run, epochs=event.total, status="running")
    others = tuple(t for t in trainings if t is not own)
    same = [t for t in others if t.stage == event.stage and event.kind == "start"]
    resumed = next((t for t in reversed(same) if event.epoch in t.points), None)
    if resumed is not None:
        done = event.epoch or 0
        kept = {epoch: point for epoch, point in resumed.points.items() if epoch <= done}
        new = replace(new, started_s=resumed.started_s, points=kept, runs=resumed.runs + new.runs)
        others = tuple(t for t in others if t is not resumed)
    # One that still runs when the next begins never wrote its end: it was killed.
    others = tuple(
        replace(t, status="interrupted") if t.stage == event.stage and t.status == "running" else t
        for t in others
    )
    same = [t for t in others if t.stage == event.stage]
    dropped = same[: max(len(same) - MOST_TRAININGS + 1, 0)]
    return (*(t for t in others if not any(t is old for old in dropped)), new)


def updated(trainings: Trainings, event: Event) -> Trainings:
    """The trainings after an epoch, a failure or an end; other events leave them as they are."""
    if event.kind not in ("epoch", "failure", "end"):
        return trainings

    def after(training: Training) -> Training:
        if (training.stage, training.run) != (event.stage, event.run):
            return training
        if event.kind == "epoch" and event.epoch:
            points = {**training.points, event.epoch: event.metrics}
            return replace(training, points=points, epochs=event.total or training.epochs)
        if event.kind == "end":
            return replace(training, status="done", result=event.metrics)
        return replace(training, status="failed") if event.kind == "failure" else training

    return tuple(map(after, trainings))


def thinned(trace: Trace, point: tuple[float, float]) -> Trace:
    """The trace with a point more, in at most MOST_TRACE_POINTS + 1 points."""
    if trace and point[0] < trace[-1][0]:  # the epoch started again
        trace = tuple(old for old in trace if old[0] < point[0])
    spacing = (trace[-1][0] - trace[0][0]) / MOST_TRACE_POINTS if trace else 0.0
    if len(trace) > 2 and point[0] - trace[-2][0] < spacing:
        return (*trace[:-1], point)  # too near its neighbour: the newest point moves instead
    if len(trace) >= MOST_TRACE_POINTS:
        trace = trace[::2]
    return (*trace, point)
