"""Checkpoints: published ones (small, byte-stable, safe to load) and those of unfinished runs.

Published: `{"weights": state_dict, "config": plain values}`, with a hash of the weights inside,
because torch.load does not notice a flipped bit. Those of unfinished
runs are kept in `.checkpoints/<stage>/<run key>/`, outside DVC's outs, which DVC deletes before
a stage runs.
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
from pillsnap.errors import CheckpointError, MachineError, reason_of

MAGIC = b"PILLSNAP-CHECKPOINT-1\n"
DIGEST_BYTES = 32


def publish(path: Path, weights: Mapping[str, torch.Tensor], config: dict[str, Any]) -> None:
    """Write a published checkpoint: equal weights and configuration give equal bytes.

    `sha256` covers both, because torch.load does not notice a flipped bit in either.
    """
    weights = {name: weights[name].detach().cpu().contiguous().clone() for name in sorted(weights)}
    # Through JSON: pickle writes a string object met twice differently from two equal ones.
    plain = json.loads(json.dumps(config))
    content = {"weights": weights, "config": plain, "sha256": _published_hash(weights, plain)}
    buffer = io.BytesIO()
    _save(content, buffer, path)
    files.write_bytes(path, buffer.getvalue())


def load_published(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights and configuration of a published checkpoint; never runs code from the file."""
    again = "Train it again (dvc repro) or restore it (dvc checkout)."
    with files.opened(path, again, CheckpointError, files.LARGEST_MODEL_BYTES) as file:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
            weights, config, sealed = content["weights"], content["config"], content.get("sha256")
            found = _published_hash(weights, config)
        except Exception as error:  # a foreign or damaged file fails in many ways: one refusal
            fact = f"{path} is not a PillSnap checkpoint: {reason_of(error)}"
            raise CheckpointError(fact, again) from None
    if sealed is None and "weights_sha256" in config:
        raise CheckpointError(
            f"{path} is from a version that did not hash the configuration.",
            "Train it again: dvc repro",
        )
    if sealed != found:
        fact = f"{path} is damaged: its weights or configuration do not match their hash."
        raise CheckpointError(fact, again)
    return weights, config


def weights_hash(weights: Mapping[str, torch.Tensor]) -> str:
    """sha256 over names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _published_hash(weights: Mapping[str, torch.Tensor], config: dict[str, Any]) -> str:
    text = weights_hash(weights) + json.dumps(config, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


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

    def __init__(self, stage: str, run_key: str, root: Path | None = None) -> None:
        base = root or Path(os.environ.get("DVC_ROOT") or ".") / ".checkpoints"
        self.path = base / stage / run_key
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
                f"Wait for it to end, or stop it: kill {other}",
            ) from None
        os.ftruncate(self._lock, 0)
        # torchrun would start a killed process of its own again: its agent is the one to end
        holder = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else os.getpid()
        os.write(self._lock, str(holder).encode())
        # Ultralytics forks loaders for val that outlive a killed trainer by some 5 s
        os.register_at_fork(after_in_child=self._unlock)
        return self

    def __exit__(self, *_: object) -> None:
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def save(self, state: dict[str, Any]) -> None:
        """Store `state` (tensors and plain values), whole or not at all."""
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
        """Delete the folder: the run is complete."""
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
