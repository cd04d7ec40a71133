"""The files of one artifacts/<scale>/ folder: events, the stages' JSON, sha256 of checkpoints."""

import os
from pathlib import Path
from typing import Any

from pillsnap import files
from pillsnap.errors import UserError
from pillsnap.monitor.events import EventReader
from pillsnap.monitor.state import State, fold
from pillsnap.places import MODELS, Places

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
