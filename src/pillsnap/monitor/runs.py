"""The runs of a stage in the event log; a training is one run, however often it was resumed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pillsnap.monitor.events import Event

MOST_RUNS = 8  # kept for comparison, per stage

Numbers = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class StageRun:
    """A run from its first epoch on; `names` are all that belong to it, `run` the last."""

    run: str
    started_s: float
    status: str = "running"  # running, interrupted, done, failed
    epochs: int | None = None
    points: Mapping[int, Numbers] = field(default_factory=dict)  # epoch -> metrics
    result: Numbers = field(default_factory=dict)
    names: tuple[str, ...] = ()


Runs = tuple[StageRun, ...]


def opened(runs: Runs, event: Event) -> Runs:
    """The runs with that of `event` at the end: a new one, or the one that it resumes."""
    own = next((run for run in runs if event.run in run.names), None)
    others = [run for run in runs if run is not own]
    new = own or StageRun(event.run, event.time_s, names=(event.run,))
    new = replace(new, run=event.run, epochs=event.total, status="running")
    starts = event.kind == "start"
    resumed = next((run for run in reversed(others) if starts and event.epoch in run.points), None)
    if resumed is not None:
        done = event.epoch or 0
        kept = {epoch: point for epoch, point in resumed.points.items() if epoch <= done}
        names = resumed.names + new.names
        new = replace(new, started_s=resumed.started_s, points=kept, names=names)
        others.remove(resumed)
    # One that still runs when the next begins never wrote its end: it was killed.
    others = [
        replace(run, status="interrupted") if run.status == "running" else run for run in others
    ]
    return (*others, new)[-MOST_RUNS:]


def advanced(runs: Runs, event: Event) -> Runs:
    """The runs after an epoch, a failure or an end of one of them."""

    def after(run: StageRun) -> StageRun:
        if run.run != event.run:
            return run
        if event.kind == "epoch" and event.epoch:
            points = {**run.points, event.epoch: event.metrics}
            return replace(run, points=points, epochs=event.total or run.epochs)
        if event.kind == "end":
            return replace(run, status="done", result=event.metrics)
        return replace(run, status="failed") if event.kind == "failure" else run

    return tuple(map(after, runs))
