"""Unfinished trainings: what `pillsnap train` can resume, a clean start, other weights."""

from datetime import datetime
from pathlib import Path

from pillsnap import files
from pillsnap.dataset import manifest
from pillsnap.errors import CheckpointError
from pillsnap.places import TRAININGS
from pillsnap.training import checkpoints

BASE = Path(".checkpoints")


def describe(root: Path) -> list[str]:
    """A line for each training that was interrupted: its last complete epoch, and when."""
    lines = []
    for stage in TRAININGS:
        found = (root / BASE / stage).glob("*/newest.ckpt")
        newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
        if newest is None:
            continue
        state, _ = checkpoints.WorkFolder(stage, newest.parent.name, root / BASE).load()
        epochs = len((state or {}).get("history", ()))
        saved = datetime.fromtimestamp(newest.stat().st_mtime)
        lines.append(
            f"{stage}: interrupted after {epochs} complete epochs (saved {saved:%Y-%m-%d %H:%M}); "
            "resumes from there where parameters, data and code are the same"
        )
    return lines


def remove(root: Path) -> str:
    """Remove the unfinished checkpoints of both trainings; MachineError while one of them runs."""
    paths = [path for stage in TRAININGS for path in sorted((root / BASE / stage).glob("*/"))]
    for path in paths:
        with checkpoints.WorkFolder(path.parent.name, path.name, root / BASE) as folder:
            folder.remove()
    names = ", ".join(f"{path.parent.name}/{path.name}" for path in paths)
    return f"--fresh: unfinished checkpoints removed: {names or 'there were none'}"


def keep_start(path: Path, root: Path) -> Path:
    """A copy of the weights to start from, named by their content, relative to `root`: the original
    may be an out of the stage that starts from it, and DVC deletes outs first."""
    copy = BASE / "start" / f"{files.sha256_of(path)[:16]}.pt"
    if not (root / copy).exists():
        files.write_bytes(root / copy, path.read_bytes())
    return copy


def check_start(path: Path, classes_path: Path) -> None:
    """CheckpointError unless `path` is a classifier that can be trained on for these classes."""
    _, config = checkpoints.load_published(path)
    if config.get("kind") != "classification":
        raise CheckpointError(
            f"{path} holds a {config.get('kind')} model, not a classifier.",
            "Give artifacts/<scale>/checkpoints/<scale>_classification_best.pt.",
        )
    if not classes_path.is_file():
        return  # build_manifest makes it; the stage checks the shape of the weights
    if manifest.class_table_hash(classes_path) != config.get("class_table_hash"):
        raise CheckpointError(
            f"{path} was trained on another class table than {classes_path}.",
            f"Give one of the same classes, or restore: dvc checkout --force {classes_path}",
        )
