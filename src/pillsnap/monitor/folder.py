"""The files of one artifacts/<scale>/ folder, and which run they are from.

metrics.json and validation.json are committed to git, so a fresh clone has them before anything
ran there.
"""

import os
from pathlib import Path
from typing import Any

from pillsnap import files
from pillsnap.errors import UserError
from pillsnap.files import Json
from pillsnap.monitor.events import EventReader
from pillsnap.monitor.state import State, fold
from pillsnap.params import at
from pillsnap.places import MODELS, TRAININGS, Places

SHOWN = ("validation", "metrics", "sampling")
CHECKPOINTS = tuple(f"{model}_sha256" for model in MODELS)  # keys of provenance
PAGES = (  # made by the stages, shown and linked by the page
    "report.html",
    "validation.html",
    "figures/detections.png",
    "figures/confusions.png",
    "figures/unknown.png",
)
LARGEST_BYTES = 4 << 20
MOST_ITEMS = 60
MOST_EXAMPLES = 3
LONGEST_TEXT = 300
DEEPEST = 5


class RunFolder:
    """Events folded into `state`; shortened JSON or a sha256 as `contents`, None where absent."""

    def __init__(self, artifacts_dir: Path) -> None:
        self.events = EventReader(artifacts_dir / "live" / "events.jsonl")
        self.state = State()
        places = Places(artifacts_dir, Path(), artifacts_dir.name)
        self.pages = {name: artifacts_dir / name for name in PAGES}
        self._paths = {name: artifacts_dir / f"{name}.json" for name in (*SHOWN, "evaluation")}
        self._paths |= zip(CHECKPOINTS, map(places.checkpoint, MODELS), strict=True)
        self._seen: dict[str, tuple[int, int, int] | None] = dict.fromkeys(self._paths)
        self.contents: dict[str, Any] = dict.fromkeys(self._paths)
        self.modified_s: dict[str, float | None] = dict.fromkeys(self._paths)

    def read(self) -> bool:
        """Fold in the next chunk of events; whether there are more. OSError passes."""
        batch = self.events.read()
        self.state = fold(State() if batch.restarted else self.state, batch.events)
        return batch.more

    def refresh(self) -> None:
        """Read the other files that have changed since the last call."""
        for name, path in self._paths.items():
            status = path.stat() if os.access(path, os.F_OK) else None
            mark = (status.st_ino, status.st_mtime_ns, status.st_size) if status else None
            if mark != self._seen[name]:
                self._seen[name] = mark
                self.modified_s[name] = status.st_mtime if status else None
                self.contents[name] = _content(path) if status else None


def _content(path: Path) -> Any:
    try:
        if path.suffix != ".json":
            return files.sha256_of(path)
        if path.stat().st_size > LARGEST_BYTES:
            return {"problem": f"{path.name} is larger than {LARGEST_BYTES >> 20} MiB"}
        return _shortened(files.read_json(path, cure=""), DEEPEST)
    except (OSError, UserError) as error:
        return {"problem": str(error).strip()[-LONGEST_TEXT:]}


def _shortened(value: Any, depth: int, most: int = MOST_ITEMS) -> Any:
    if isinstance(value, str):
        return value[:LONGEST_TEXT]
    if isinstance(value, dict):
        items = list(value.items())[:most] if depth else []
        limit = {"examples": MOST_EXAMPLES}
        return {k: _shortened(v, depth - 1, limit.get(k, MOST_ITEMS)) for k, v in items}
    if isinstance(value, list):
        return [_shortened(item, depth - 1) for item in value[:most]] if depth else []
    return value


def origins(folder: RunFolder) -> Json:
    """For each file: when and by which run and git revision it was made, whether it is current."""
    revision = at(folder.contents["evaluation"], "provenance.git_revision")
    short = revision[:12] if isinstance(revision, str) else None
    validate, modified_s = folder.state.stages["validate"], folder.modified_s["validation"] or 0.0
    validated = validate.status == "done" and modified_s >= (validate.started_s or 0.0)
    return {
        "metrics": _origin(folder, "metrics", "evaluate", _is_measured(folder), short),
        "validation": _origin(folder, "validation", "validate", validated, None),
    }


def _origin(folder: RunFolder, name: str, stage: str, current: bool, revision: str | None) -> Json:
    run, time_s = folder.state.stages[stage].run if current else "", folder.modified_s[name]
    return {"time": time_s, "run": run or None, "revision": revision, "current": current}


def _is_measured(folder: RunFolder) -> bool:
    """Whether the metrics are those of the newest trainings in the log and of the checkpoints."""
    stages, found = folder.state.stages, folder.contents
    trainings, evaluate = [stages[name] for name in TRAININGS], stages["evaluate"]
    started = [stage.started_s for stage in trainings if stage.started_s is not None]
    if not started or (folder.modified_s["metrics"] or 0.0) < max(started):
        return False
    if any(stage.status not in ("done", "idle") for stage in trainings):
        return False
    if evaluate.status != "idle":  # idle: DVC has restored its outputs
        if evaluate.status != "done" or (evaluate.started_s or 0.0) < max(started):
            return False
        logged = ((at(found["metrics"], name), value) for name, value in evaluate.result.items())
        if any(metric not in (None, value) for metric, value in logged):
            return False  # git may have put an older file back
    evaluated = {key: at(found["evaluation"], f"provenance.{key}") for key in CHECKPOINTS}
    return all(found[key] and evaluated[key] == found[key] for key in CHECKPOINTS)
