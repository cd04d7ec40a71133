"""The files of a photo set, and what the names of its folders mean."""

import os
import stat
from pathlib import Path, PurePosixPath

from pillsnap.dataset import source
from pillsnap.dataset.names import nfc
from pillsnap.dataset.pictures import HEIF_SUFFIXES, SUFFIXES

PICTURES = SUFFIXES | HEIF_SUFFIXES
LABELS = frozenset({".txt", ".json", ".yaml", ".yml", ".csv", ".names"})
PARTS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
Files = dict[str, int]  # bytes by path relative to the root


def walk(root: Path) -> Files:
    """All files below `root`, sorted by path; links are followed, hidden names are not."""
    found: Files = {}
    entered: set[tuple[int, int]] = set()
    source.check_root(root)
    for folder, inner, names in os.walk(root, followlinks=True):
        inner[:] = [name for name in inner if name[0] != "." and _new(folder, name, entered)]
        for name in names:
            path = Path(folder, name)
            try:
                status = path.stat()
            except OSError:
                continue  # a link to nothing
            if name[0] != "." and stat.S_ISREG(status.st_mode):
                found[path.relative_to(root).as_posix()] = status.st_size
    return dict(sorted(found.items(), key=lambda item: (nfc(item[0]), item[0])))


def suffix(path: str) -> str:
    """The ending of a path in lower case: `.jpg`."""
    return PurePosixPath(path).suffix.lower()


def pictures(files: Files) -> list[str]:
    """The paths of what is named like a picture."""
    return [path for path in files if suffix(path) in PICTURES]


def sample(root: Path, count: int) -> list[str]:
    """The paths of some pictures, from all folders."""
    found = pictures(walk(root))
    return found[:: max(1, len(found) // count)][:count]


def part_of(path: str) -> str:
    """train, val or test, as the innermost folder says whose name is one; "" where none is."""
    folders = reversed(PurePosixPath(path).parts[:-1])
    return next((PARTS[name.lower()] for name in folders if name.lower() in PARTS), "")


def _new(folder: str, name: str, entered: set[tuple[int, int]]) -> bool:
    status = Path(folder, name).stat()
    identity = (status.st_dev, status.st_ino)
    if identity in entered:
        return False
    entered.add(identity)
    return True
