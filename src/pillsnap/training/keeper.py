"""What is kept of a training while it runs: its state, its best weights, its record."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from pillsnap.stage.log import RunLog
from pillsnap.training.checkpoints import WorkFolder
from pillsnap.training.plan import Trained, TrainingPlan
from pillsnap.training.record import Recorder

State = dict[str, Any]


class Resumable(Protocol):
    """A trainer whose training can be resumed."""

    def state(self) -> State:
        """Tensors and plain values that the rest of the training depends on."""

    def restore(self, state: State) -> None:
        """Continue from `state`."""


class Keeper:
    """Stores and restores a training and records its epochs; only rank 0 touches files.

    Every rank holds the same state, so every rank calls the same methods.
    """

    def __init__(self, plan: TrainingPlan, folder: WorkFolder, live_dir: Path, log: RunLog) -> None:
        self._plan, self._folder, self._log = plan, folder, log
        self._stored = self._load()
        self._resumes, history = 0, []
        self.best: State = {}
        if self._stored is not None:
            self._resumes, history = self._stored["resumes"] + 1, self._stored["history"]
            self.best = self._stored["best"]
        own_dir = live_dir if plan.ranks.is_main else None
        self._recorder = Recorder(own_dir, log, plan.epochs, history)
        log.start(plan.epochs, len(history), plan.goals)

    @property
    def epochs(self) -> int:
        """Complete epochs."""
        return len(self._recorder.history)

    def resume(self, trainer: Resumable) -> None:
        """Continue from the stored state where there is one."""
        state, self._stored = self._stored, None
        if state is not None:
            trainer.restore(state)
            step = f", step {state['step']}" if state.get("step") else ""
            self._log.info(f"resuming after epoch {state['epoch']}{step}")

    def save(self, trainer: Resumable) -> None:
        """Store the training as it is."""
        if self._plan.ranks.is_main:
            kept = {
                "best": self.best,
                "history": self._recorder.history,
                "resumes": self._resumes,
            }
            self._folder.save({**trainer.state(), **kept})

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
        self._recorder.record(metrics, seconds)
        self.save(trainer)
        self._recorder.announce()

    def finish(self, batch_size: int) -> Trained:
        """All epochs are complete; `batch_size` is the one they ended with."""
        best = self.best
        self._recorder.finish(
            resumed=self._resumes, best_epoch=best["epoch"], batch_size=batch_size
        )
        return Trained(best["weights"], best["metrics"], best["epoch"])

    def _load(self) -> State | None:
        """Rank 0's stored state, in every rank."""
        ranks = self._plan.ranks
        state, damaged = self._folder.load() if ranks.is_main else (None, [])
        for line in damaged:
            self._log.warning(line)
        shared: State | None = ranks.same({"state": state})["state"]
        return shared
