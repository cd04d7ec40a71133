"""A State as the JSON the page and the API get: sections that change on their own."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pillsnap.monitor.state import SAMPLED, StageState, State, seconds_left, share_done
from pillsnap.monitor.trainings import Training
from pillsnap.places import STAGES, TRAININGS

STALLED_AFTER_S = 180.0  # a stage reports about every second; its evaluations take longer

Json = dict[str, Any]


def status_of(stage: StageState, now_s: float) -> str:
    """idle, running, done or failed; stalled where a running stage has long written no event."""
    if stage.status == "running" and stage.updated_s is not None:
        return "stalled" if now_s - stage.updated_s > STALLED_AFTER_S else "running"
    return stage.status


def of(state: State, now_s: float) -> Json:
    """The state as the page and `GET /api/state` get it; docs/monitor.md explains the keys."""
    return {
        "stages": {name: _stage(state.stages[name], now_s) for name in STAGES},
        "runs": {
            name: [_training(t) for t in state.trainings if t.stage == name] for name in TRAININGS
        },
        "traces": {
            name: [[round(x, 4), _short(y)] for x, y in state.stages[name].trace]
            for name in TRAININGS
        },
        "hardware": {
            "newest": dict(state.hardware) or None,
            "time": state.hardware_time_s,
            "columns": ["time", *SAMPLED],
        },
        "logs": [_plain(line) for line in state.logs],
        "history": [[row[0], *map(_short, row[1:])] for row in state.samples],
    }


def source(path: Path, state: State, num_skipped: int, problem: str) -> Json:
    """The event file, so that an empty page explains itself."""
    return {
        "path": "/".join(path.parts[-4:]),
        "events": state.num_events,
        "skipped": num_skipped,
        "problem": problem,
    }


def _plain(record: Any, *without: str) -> Json:
    """The fields of a dataclass by name, those of times without their unit."""
    names = [field.name for field in fields(record) if field.name not in without]
    return {name.removesuffix("_s"): getattr(record, name) for name in names}


def _stage(stage: StageState, now_s: float) -> Json:
    return {
        **_plain(stage, "marks", "trace", "earlier"),
        "status": status_of(stage, now_s),
        "share_done": share_done(stage),
        "images_per_s": stage.metrics.get("images_per_s"),
        "eta_s": seconds_left(stage),
        "metrics": _rounded(stage.metrics),
        "result": _rounded(stage.result),
        "failure": _plain(stage.failure) if stage.failure else None,
    }


def _training(training: Training) -> Json:
    numbers = sorted(training.points)
    names = sorted({name for point in training.points.values() for name in point})
    curves = {name: [_short(training.points[n].get(name)) for n in numbers] for name in names}
    return {
        **_plain(training, "stage", "points", "runs"),
        "epoch": numbers,
        "metrics": curves,
        "result": _rounded(training.result),
    }


def _rounded(metrics: Mapping[str, float | None]) -> Json:
    return {name: _short(value) for name, value in metrics.items()}


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
