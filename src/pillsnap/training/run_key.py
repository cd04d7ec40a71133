"""The key of a run: equal for equal parameters, data and code, whatever else has changed."""

import hashlib
from pathlib import Path

import xxhash

from pillsnap import files, params


def run_key(stage: str, root: Path = Path()) -> str:
    """Hash of everything a stage's result depends on: its parameters and the content of its deps.

    Both are read from dvc.yaml, so that the key cannot disagree with DVC. Other parameters, data or
    code give another key and with it another work folder: nothing stale is ever resumed.
    """
    cure = "Run the command in the root of the repository."
    tree = files.read_yaml(root / "params.yaml", cure)
    definition = files.read_yaml(root / "dvc.yaml", cure)["stages"][stage]
    scale = str(tree["scale"])
    digest = hashlib.sha256()
    for name in definition["params"]:
        key = name.replace("${scale}", scale)
        digest.update(f"{key}={params.at(tree, key)!r}\n".encode())
    for name in definition["deps"]:
        path = name.replace("${scale}", scale)
        digest.update(f"{path} {_content_hash(root / path)}\n".encode())
    return digest.hexdigest()[:16]


def _content_hash(path: Path) -> str:
    """Hash over names and bytes; in a folder of code only over *.py, as .dvcignore has it."""
    digest = xxhash.xxh3_128()
    for file in _files(path):
        digest.update(f"{file.relative_to(path)}\n".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    pattern = "*.py" if any(path.rglob("*.py")) else "*"
    found = (item for item in path.rglob(pattern) if item.is_file())
    return sorted(item for item in found if item.suffix != ".cache")  # Ultralytics' own
