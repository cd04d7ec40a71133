"""What is kept of a training while it runs: its state, its best weights, its record.

DVCLive under DVC outs loses its history on resume (3.49), so the history is kept in the checkpoint
and replayed.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from dvclive import Live

from pillsnap import files
from pillsnap.errors import MachineError
from pillsnap.stage.log import RunLog
from pillsnap.training.checkpoints import State, WorkFolder, on_host
from pillsnap.training.safe_step import all_finite
from pillsnap.training.session import Trained, TrainingPlan

Epoch = dict[str, Any]  # metrics, hardware, seconds, as stored in the checkpoint

PLOTTED = {
    "cpu_pct",
    "ram_used_mb",
    "gpu_util_pct",
    "gpu_memory_used_mb",
    "gpu_temperature_c",
    "gpu_power_w",
}


class Resumable(Protocol):
    """A trainer whose training can be resumed."""

    def state(self) -> State:
        """Tensors and plain values that the rest of the training depends on."""

    def restore(self, state: State) -> None:
        """Continue from `state`."""

    def unsound(self) -> str | None:
        """Why the steps of the current epoch must not be used, None if they may."""


class Keeper:
    """Stores, restores and records a training; every rank calls it, only rank 0 writes."""

    best: State  # rank, epoch, metrics and weights of the best epoch; {} before the first
    history: list[Epoch]

    def __init__(self, plan: TrainingPlan, folder: WorkFolder, live_dir: Path, log: RunLog) -> None:
        self._plan, self._folder, self._live_dir, self._log = plan, folder, live_dir, log
        self._stored = self._load()
        self._resumes = 0 if self._stored is None else self._stored["resumes"] + 1
        self.batch_size: int = (self._stored or {}).get("batch_size", plan.batch_size)
        self._repeated = 0  # the last epoch that was repeated, counted from 1
        self._use_record(self._stored or {})
        log.start(plan.epochs, self.epochs, plan.goals, plan.described())

    @property
    def epochs(self) -> int:
        """Complete epochs."""
        return len(self.history)

    def resume(self, trainer: Resumable) -> None:
        """Continue from the stored state; at a fresh start, store the initial one."""
        state, self._stored = self._stored or self._load(), None
        if state is None:
            if self._plan.ranks.world_size > 1:
                trainer.restore(self._plan.ranks.same(on_host(trainer.state())))
            self.save(trainer)
            return
        trainer.restore(state)
        step = f", step {state['step']}" if state.get("step") else ""
        self._log.info(f"resuming after epoch {state['epoch']}{step}")

    def unsound(self, trainer: Resumable) -> str | None:
        """Why the training must not be stored as it is, None if it may. Waits for the device."""
        reason = trainer.unsound()
        if reason is None and not all_finite(trainer.state()):
            reason = "the weights or the optimizer's state are not finite"
        return reason

    def save(self, trainer: Resumable) -> str | None:
        """Store the training as it is; if it is unsound, store nothing and return the reason."""
        reason = self.unsound(trainer)
        if reason is None and self._plan.ranks.is_main:
            record = {"best": self.best, "history": self.history}
            self._folder.save({**trainer.state(), **record, "resumes": self._resumes})
        return reason

    def flush(self) -> None:
        """Wait until what was saved is on disk."""
        if self._plan.ranks.is_main:
            self._folder.flush()

    def repeats(self, trainer: Resumable, reason: str | None) -> bool:
        """Go back to the stored state if there is a `reason` to, in this rank or another.

        MachineError if the epoch was already repeated.
        """
        if not self._plan.ranks.any(reason is not None):
            return False
        reason, epoch = reason or "it failed in another process", self.epochs + 1
        if epoch == self._repeated:
            raise MachineError(
                f"Epoch {epoch} is unusable even after going back to the last checkpoint: "
                f"{reason}.",
                "Repeat the command: it resumes from the last checkpoint, which is enough after a "
                f"fault of the machine. If it fails again, lower {self._plan.lr_key} (is "
                f"{self._plan.lr:g}) or set train.mixed_precision=off.",
            )
        self._repeated = epoch
        self._log.warning(f"Epoch {epoch} is repeated from the last checkpoint: {reason}.")
        state = self._load()
        assert state is not None, "resume() stores a state"
        self._use_record(state)
        trainer.restore(state)
        return True

    def offer(
        self,
        rank: Sequence[float],
        metrics: dict[str, float],
        weights: Callable[[], dict[str, torch.Tensor]],
    ) -> None:
        """Keep a copy of the weights if `rank` is higher than that of the epochs before."""
        if not self.best or list(rank) > self.best["rank"]:
            self.best = {
                "rank": list(rank),
                "epoch": self.epochs + 1,
                "metrics": metrics,
                "weights": {k: v.detach().cpu().clone() for k, v in weights().items()},
            }

    def close_epoch(self, trainer: Resumable, metrics: dict[str, float], seconds: float) -> None:
        """Record a complete epoch, store it, then log it."""
        hardware = self._log.hardware()
        self.history.append({"metrics": metrics, "hardware": hardware, "seconds": seconds})
        self._write(self.epochs, self.history[-1])
        self.save(trainer)
        self.flush()
        shown = {**metrics, "seconds": round(seconds, 2)}
        self._log.epoch(self.epochs, self._plan.epochs, shown, hardware)

    def finish(self) -> Trained:
        """All epochs are complete: close DVCLive's files and write summary.json."""
        best = self.best
        if self._live is not None:
            self._live.end()
            summary = {
                "minutes": round(sum(epoch["seconds"] for epoch in self.history) / 60, 4),
                "epochs": self.epochs,
                "resumed": self._resumes,
                "best_epoch": best["epoch"],
                "batch_size": self.batch_size,
            }
            files.write_json(self._live_dir / "summary.json", summary)
        return Trained(best["weights"], best["metrics"], best["epoch"])

    def _use_record(self, state: State) -> None:
        """The best weights and the epochs of a stored state; DVCLive's files begin anew."""
        self.best = state.get("best", {})
        self.history = list(state.get("history", ()))
        options = {"save_dvc_exp": False, "dvcyaml": None, "report": None, "monitor_system": False}
        self._live = None
        if self._plan.ranks.is_main:
            files.remove_folder(self._live_dir / "plots")  # Live adds to what it fails to remove
            self._live = Live(str(self._live_dir), **options)
        for number, epoch in enumerate(self.history, start=1):
            self._write(number, epoch)

    def _load(self) -> State | None:
        """Rank 0's stored state, in every rank."""
        state, damaged = self._folder.load() if self._plan.ranks.is_main else (None, [])
        for line in damaged:
            self._log.warning(line)
        shared: State | None = self._plan.ranks.same(state)
        return shared

    def _write(self, number: int, epoch: Epoch) -> None:
        if self._live is None:
            return
        self._live.step = number
        hardware = epoch["hardware"]
        for name, value in epoch["metrics"].items():
            self._live.log_metric(name, value)
        for name in PLOTTED & hardware.keys():
            self._live.log_metric(f"hardware/{name}", hardware[name])
        self._live.make_summary()
