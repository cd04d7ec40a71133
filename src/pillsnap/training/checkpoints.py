"""Checkpoints: published ones (small, byte-stable, safe to load) and those of unfinished runs.

Published: `{"weights": state_dict, "config": plain values, "sha256": of both}`. Those of unfinished
runs are kept in `.checkpoints/<stage>/<run key>/`, outside DVC's outs, which DVC deletes before a
stage runs.
"""

import fcntl
import hashlib
import io
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from pillsnap import files
from pillsnap.errors import CheckpointError, MachineError, reason_of

MAGIC = b"PILLSNAP-CHECKPOINT-1\n"
DIGEST_BYTES = 32

AGAIN = "Train it again (dvc repro) or restore it (dvc checkout --force)."

State = dict[str, Any]


def publish(path: Path, weights: Mapping[str, torch.Tensor], config: dict[str, Any]) -> None:
    """Write weights, configuration and a hash of both; equal content gives equal bytes."""
    weights = {name: weights[name].detach().cpu().contiguous().clone() for name in sorted(weights)}
    # Through JSON: pickle writes a string object met twice differently from two equal ones.
    plain = json.loads(json.dumps(config))
    content = {"weights": weights, "config": plain, "sha256": _published_hash(weights, plain)}
    buffer = io.BytesIO()
    torch.save(content, buffer)
    files.write_bytes(path, buffer.getvalue())


def load_published(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights and configuration of a published checkpoint; never runs code from the file."""
    opened = files.opened(path, AGAIN, CheckpointError, files.LARGEST_MODEL_BYTES)
    with opened as file, warnings.catch_warnings(action="ignore"):  # torch's about damage
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
            weights, config, sealed = content["weights"], content["config"], content.get("sha256")
            found = _published_hash(weights, config)
        except Exception as error:  # a foreign or damaged file fails in many ways: one refusal
            fact = f"{path} is not a PillSnap checkpoint: {reason_of(error)}"
            raise CheckpointError(fact, AGAIN) from None
    if sealed != found:
        fact = f"{path} is damaged: its weights or configuration do not match their hash."
        raise CheckpointError(fact, AGAIN)
    return weights, config


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """CheckpointError where the weights of `path` do not fit the model that is built for them."""
    try:
        yield
    except RuntimeError as error:
        fact = f"{path} holds weights that do not fit its model: {reason_of(error)}"
        raise CheckpointError(fact, AGAIN) from None


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


class WorkFolder:
    """The stored state of one unfinished training; use as a context manager.

    One process at a time (flock). The newest state and the one before it are kept, each behind its
    own hash: if a file is cut or flipped, the state before it is used. The weights of the best
    epoch have a file of their own, written when they change. A thread writes.
    """

    def __init__(self, stage: str, key: str, root: Path | None = None) -> None:
        base = root or Path(os.environ.get("DVC_ROOT") or ".") / ".checkpoints"
        self.path = base / stage / key
        self._newest = self.path / "newest.ckpt"
        self._previous = self.path / "previous.ckpt"
        self._newest_damaged = False
        self._best_files = ("", "")  # that the newest and the previous state refer to
        self._lock: int | None = None
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._pending: Future[None] | None = None

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
        self._writer.shutdown()  # waits for the state under way
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def save(self, state: State) -> None:
        """Copy `state` (tensors and plain values) and store it, whole or not at all.

        Returns once it is copied to host memory; `flush` waits until it is on disk. The tensors of
        state["best"]["weights"] are not copied: they must not change.
        """
        self.flush()
        copied = on_host({name: value for name, value in state.items() if name != "best"})
        best = {"best": {**state["best"]}} if state.get("best") else {}
        self._pending = self._writer.submit(self._write, copied | best)

    def flush(self) -> None:
        """Wait until the last saved state is on disk; raises what its writing raised."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def load(self) -> tuple[State | None, list[str]]:
        """The newest whole state (None at a fresh start) and a line for each damaged file."""
        self.flush()
        damaged: list[str] = []
        for path in (self._newest, self._previous):
            state = self._read(path) if path.exists() else None
            if state is not None:
                return state, damaged
            if path.exists():
                damaged.append(f"{path} is damaged; the checkpoint before it is used.")
            self._newest_damaged |= path == self._newest
        return None, damaged

    def remove(self) -> None:
        """Delete the folder: the run is complete."""
        self.flush()
        shutil.rmtree(self.path, ignore_errors=True)

    def _write(self, state: State) -> None:
        name, best = "", state.get("best")
        if best is not None:
            name, weights = f"best-{best['epoch']}.ckpt", best["weights"]
            best["weights"] = name
            if name != self._best_files[0]:
                with files.replacing(self.path / name) as temporary:
                    _write_state(temporary, weights)
        with files.replacing(self._newest) as temporary:
            _write_state(temporary, state)
            if self._newest.exists() and not self._newest_damaged:
                self._newest.replace(self._previous)
        self._newest_damaged = False
        self._best_files = (name, self._best_files[0])
        for path in self.path.glob("best-*.ckpt"):
            if path.name not in self._best_files:
                path.unlink()

    def _read(self, path: Path) -> State | None:
        state = _read_state(path)
        if state is None or "best" not in state:
            return state
        name = str(state["best"]["weights"])
        self._best_files = (name, name)
        state["best"]["weights"] = weights = _read_state(self.path / name)
        return None if weights is None else state


def on_host(state: State) -> State:
    """A copy of nested tensors and plain values in host memory."""
    copied: State = tree_map_only(torch.Tensor, lambda t: t.detach().to("cpu", copy=True), state)
    return copied


def _write_state(path: Path, state: State) -> None:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with path.open("wb") as file:
        file.write(MAGIC + hashlib.sha256(buffer.getbuffer()).digest())
        file.write(buffer.getbuffer())


def _read_state(path: Path) -> State | None:
    """None if the file is missing or damaged."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    digest = content[len(MAGIC) : len(MAGIC) + DIGEST_BYTES]
    payload = content[len(MAGIC) + DIGEST_BYTES :]
    if not content.startswith(MAGIC) or hashlib.sha256(payload).digest() != digest:
        return None
    state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    assert isinstance(state, dict)
    return state
