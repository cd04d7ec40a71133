"""Checkpoints: published ones (small, byte-stable, safe to load) and unfinished ones (to resume).

Published: `{"weights": state_dict, "config": plain values}`, with a hash of the weights inside,
because torch.load does not notice a flipped bit. Unfinished ones live outside DVC's outs, in
`.checkpoints/<stage>/<fingerprint>/`: DVC deletes outs before a stage runs.
"""

import fcntl
import hashlib
import io
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import xxhash

from pillsnap import files
from pillsnap.errors import CheckpointError, MachineError

MAGIC = b"PILLSNAP-CHECKPOINT-1\n"
DIGEST_BYTES = 32


def publish(path: Path, weights: Mapping[str, torch.Tensor], config: dict[str, Any]) -> None:
    """Write a published checkpoint: equal weights and configuration give equal bytes."""
    weights = {name: weights[name].detach().cpu().contiguous().clone() for name in sorted(weights)}
    # Through JSON: pickle writes a string object met twice differently from two equal ones.
    plain = json.loads(json.dumps({**config, "weights_sha256": weights_hash(weights)}))
    content = {"weights": weights, "config": plain}
    buffer = io.BytesIO()
    _save(content, buffer, path)
    files.write_bytes(path, buffer.getvalue())


def load_published(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights and configuration of a published checkpoint; runs no code the file may hold."""
    again = "Train it again (dvc repro) or restore it (dvc checkout)."
    if not path.is_file():
        raise CheckpointError(f"{path} is not here.", again)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        weights, config = content["weights"], content["config"]
        whole = weights_hash(weights) == config["weights_sha256"]
    except Exception as error:  # a foreign or damaged file fails in many ways: all mean the same
        reason = str(error).splitlines()[0][:200]
        raise CheckpointError(f"{path} is not a PillSnap checkpoint: {reason}", again) from None
    if not whole:
        raise CheckpointError(f"{path} is damaged: its weights differ from their hash.", again)
    return weights, config


def weights_hash(weights: Mapping[str, torch.Tensor]) -> str:
    """sha256 over names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def fingerprint(stage: str, root: Path = Path()) -> str:
    """Hash of what decides a stage's result: its parameters and the content of its deps.

    Read from dvc.yaml, so that it cannot disagree with DVC. Other parameters, data or code have
    another fingerprint, and with it another folder: nothing stale is ever resumed.
    """
    cure = "Run the command in the root of the repository."
    tree = files.read_yaml(root / "params.yaml", cure)
    definition = files.read_yaml(root / "dvc.yaml", cure)["stages"][stage]
    scale = str(tree["scale"])
    digest = hashlib.sha256()
    for name in definition["params"]:
        key = name.replace("${scale}", scale)
        digest.update(f"{key}={_at(tree, key)!r}\n".encode())
    for name in definition["deps"]:
        path = name.replace("${scale}", scale)
        digest.update(f"{path} {_content_hash(root / path)}\n".encode())
    return digest.hexdigest()[:16]


class WorkFolder:
    """The unfinished checkpoint of one training run; use as a context manager.

    One process at a time (flock). The newest checkpoint and the one before it are kept, each
    behind its own hash: a cut or flipped file is noticed and the previous one used.
    """

    def __init__(self, stage: str, run_fingerprint: str, root: Path | None = None) -> None:
        base = root or Path(os.environ.get("DVC_ROOT") or ".") / ".checkpoints"
        self.path = base / stage / run_fingerprint
        self._newest = self.path / "newest.ckpt"
        self._previous = self.path / "previous.ckpt"
        self._lock: int | None = None

    def __enter__(self) -> "WorkFolder":
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = (self.path / "lock").read_text() or "unknown"
            os.close(self._lock)
            raise MachineError(
                f"This training already runs (process {other}).",
                f"Wait for it, or end it: kill {other}",
            ) from None
        os.ftruncate(self._lock, 0)
        # torchrun would start a killed process of its own again: its agent is the one to end
        holder = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else os.getpid()
        os.write(self._lock, str(holder).encode())
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            os.close(self._lock)

    def save(self, state: dict[str, Any]) -> None:
        """Keep `state` (tensors and plain values), whole or not at all."""
        buffer = io.BytesIO()
        _save(state, buffer, self._newest)
        payload = buffer.getvalue()
        with files.replacing(self._newest) as temporary:
            temporary.write_bytes(MAGIC + hashlib.sha256(payload).digest() + payload)
            if self._newest.exists():
                self._newest.replace(self._previous)

    def load(self) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest whole state (None at a fresh start) and a line for each damaged file."""
        damaged: list[str] = []
        for path in (self._newest, self._previous):
            if not path.exists():
                continue
            state = _read_state(path)
            if state is not None:
                return state, damaged
            damaged.append(f"{path} is damaged; the checkpoint before it is used.")
        return None, damaged

    def remove(self) -> None:
        """Forget the run: it is complete."""
        shutil.rmtree(self.path, ignore_errors=True)


def _read_state(path: Path) -> dict[str, Any] | None:
    content = path.read_bytes()
    digest = content[len(MAGIC) : len(MAGIC) + DIGEST_BYTES]
    payload = content[len(MAGIC) + DIGEST_BYTES :]
    if not content.startswith(MAGIC) or hashlib.sha256(payload).digest() != digest:
        return None
    state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    assert isinstance(state, dict)
    return state


def _save(content: dict[str, Any], buffer: io.BytesIO, path: Path) -> None:
    try:
        torch.save(content, buffer)
    except RuntimeError as error:
        raise MachineError(
            f"{path} could not be written: {error}", "Free memory or disk."
        ) from None


def _at(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _content_hash(path: Path) -> str:
    """Hash over names and bytes; of a folder of code the *.py alone, as .dvcignore has it."""
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
