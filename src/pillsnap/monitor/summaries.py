"""The summaries stages leave under artifacts/<scale>/, reread when they change, kept short."""

from pathlib import Path
from typing import Any

from pillsnap import files
from pillsnap.errors import UserError

NAMES = ("validation", "metrics", "sampling")
LARGEST_BYTES = 4 << 20
MOST_ITEMS = 60
MOST_EXAMPLES = 3
LONGEST_TEXT = 300
DEEPEST = 5


class ArtifactFiles:
    """validation.json, metrics.json and sampling.json; each None until it is there and whole."""

    def __init__(self, artifacts_dir: Path) -> None:
        self._paths = {name: artifacts_dir / f"{name}.json" for name in NAMES}
        self._seen: dict[str, tuple[int, int, int] | None] = dict.fromkeys(NAMES)
        self.contents: dict[str, Any] = dict.fromkeys(NAMES)

    def refresh(self) -> None:
        """Read again what has changed since the last call."""
        for name, path in self._paths.items():
            mark = _mark(path)
            if mark != self._seen[name]:
                self._seen[name] = mark
                self.contents[name] = _content(path) if mark else None


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _content(path: Path) -> Any:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            return {"problem": f"{path.name} is larger than {LARGEST_BYTES >> 20} MiB"}
        return _shortened(files.read_json(path, cure=""), DEEPEST)
    except (OSError, UserError) as error:
        return {"problem": str(error).strip()[-LONGEST_TEXT:]}


def _shortened(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return value[:LONGEST_TEXT]
    if isinstance(value, dict):
        items = list(value.items())[:MOST_ITEMS] if depth else []
        return {
            key: [_shortened(item, depth - 1) for item in inner[:MOST_EXAMPLES]]
            if key == "examples" and isinstance(inner, list)
            else _shortened(inner, depth - 1)
            for key, inner in items
        }
    if isinstance(value, list):
        return [_shortened(item, depth - 1) for item in value[:MOST_ITEMS]] if depth else []
    return value
