"""A State as the JSON the page and the API get: sections that change on their own."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pillsnap.files import Json
from pillsnap.monitor.folder import SHOWN, RunFolder, origins, stat_of
from pillsnap.monitor.runs import StageRun
from pillsnap.monitor.state import SAMPLED, StageState, seconds_left, share_done
from pillsnap.places import STAGES, TRAININGS

STALLED_AFTER_S = 180.0  # a stage reports about every second; its evaluations take longer


def status_of(stage: StageState, now_s: float) -> str:
    """idle, running, done or failed; stalled where a running stage has long written no event."""
    if stage.status == "running" and stage.updated_s is not None:
        return "stalled" if now_s - stage.updated_s > STALLED_AFTER_S else "running"
    return stage.status


def of(folder: RunFolder, problem: str, now_s: float) -> Json:
    """The state as the page and `GET /api/state` get it; docs/monitor.md explains the keys.

    `problem` is why the event file cannot be read, or "".
    """
    state, path = folder.state, folder.events.path
    first = state.num_logs - len(state.logs)
    return {
        "stages": {name: _stage(state.stages[name], now_s) for name in STAGES},
        "runs": {name: list(map(_run, state.stages[name].runs)) for name in TRAININGS},
        "hardware": {
            "newest": dict(state.hardware) or None,
            "time": state.hardware_time_s,
            "columns": ["time", *SAMPLED],
        },
        "logs": [
            {"number": number, **_only(line, "time_s", "stage", "level", "message")}
            for number, line in enumerate(state.logs, first)
        ],
        "history": [[row[0], *map(_short, row[1:])] for row in state.samples],
        "files": {name: folder.contents[name] for name in SHOWN},
        "origins": origins(folder),
        "pages": {
            name: status.st_mtime if (status := stat_of(path)) else None
            for name, path in folder.pages.items()
        },
        "source": {
            "scale": path.parts[-3],
            "path": "/".join(path.parts[-4:]),
            "events": state.num_events,
            "skipped": folder.events.skipped,
            "problem": problem,
        },
    }


def _only(record: Any, *names: str) -> Json:
    """Fields of a dataclass by name, those of times without their unit."""
    return {name.removesuffix("_s"): getattr(record, name) for name in names}


def _without(record: Any, *names: str) -> Json:
    return _only(record, *(field.name for field in fields(record) if field.name not in names))


def _stage(stage: StageState, now_s: float) -> Json:
    failure = stage.failure
    return {
        **_without(stage, "marks", "runs"),
        "status": status_of(stage, now_s),
        "share_done": share_done(stage),
        "images_per_s": stage.metrics.get("images_per_s"),
        "eta_s": seconds_left(stage),
        "metrics": _rounded(stage.metrics),
        "result": _rounded(stage.result),
        "failure": failure and _only(failure, "time_s", "message", "cause", "cures"),
    }


def _run(run: StageRun) -> Json:
    numbers = sorted(run.points)
    names = sorted({name for point in run.points.values() for name in point})
    curves = {name: [_short(run.points[n].get(name)) for n in numbers] for name in names}
    shown = {"epoch": numbers, "metrics": curves, "result": _rounded(run.result)}
    return {**_without(run, "points", "names"), **shown}


def _rounded(metrics: Mapping[str, float | None]) -> Json:
    return {name: _short(value) for name, value in metrics.items()}


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
