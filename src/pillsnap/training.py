"""The classifier's training loop: exact under interruption, nothing waited for inside a step.

Everything random in a step is keyed by (seed, epoch, step) or (seed, epoch, sample), so a run
that was killed and resumed ends with the weights of one that was not.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from pillsnap import classifier
from pillsnap.augment import Augmenter
from pillsnap.batches import Batch, CropDataset, EpochBatches, loader
from pillsnap.checkpoints import WorkFolder
from pillsnap.errors import MachineError
from pillsnap.interrupts import Interrupt, deferred
from pillsnap.live import Recorder
from pillsnap.params import TrainClassificationParams
from pillsnap.run_log import RunLog

MEMORY_RETRIES = 3
SAVE_PERIOD_S = 120.0


@dataclass(frozen=True)
class Plan:
    """What a training run is: everything but model and data."""

    epochs: int
    repeats: int  # times an epoch shows each crop
    batch_size: int
    lr: float
    recipe: TrainClassificationParams
    seed: int
    device: torch.device
    dtype: torch.dtype | None  # of autocast; None: float32
    compile: bool
    num_workers: int
    goals: dict[str, float | None]  # shown beside the curves, decide nothing


@dataclass(frozen=True)
class Trained:
    """The averaged weights of the best epoch and its figures."""

    weights: dict[str, torch.Tensor]
    metrics: dict[str, float]
    epoch: int


class Trainer:
    """The state of a training and one step of it."""

    def __init__(self, model: nn.Module, plan: Plan, steps_per_epoch: int, log: RunLog) -> None:
        self.plan, self.steps_per_epoch, self._log = plan, steps_per_epoch, log
        self.model = classifier.placed(model, plan.device)
        self.average = classifier.averaged(self.model, plan.recipe.ema_decay)
        self.normalise = classifier.Normaliser(*classifier.input_statistics(model)).to(plan.device)
        groups = classifier.parameter_groups(self.model, plan.recipe.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=plan.lr, fused=True)
        self.scaler = torch.amp.GradScaler(plan.device.type, enabled=plan.dtype is torch.float16)
        self.loss_sum = torch.zeros((), device=plan.device)  # of this epoch, over its steps
        self.epoch = self.step = 0  # whole epochs done, steps done in the next one
        self.seconds = 0.0  # spent in the epoch under way
        self.micro_batches = 1
        self.best: dict[str, Any] = {}
        self._forward: Callable[[torch.Tensor], torch.Tensor] = self.model
        if plan.compile:
            self._forward = torch.compile(self.model)

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        modules = {"model": self.model, "average": self.average.module}
        holders = {**modules, "optimizer": self.optimizer, "scaler": self.scaler}
        plain = {name: getattr(self, name) for name in _PLAIN_STATE}
        return {**{name: holder.state_dict() for name, holder in holders.items()}, **plain}  # type: ignore[attr-defined]

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.model.load_state_dict(state["model"])
        self.average.module.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        for name in _PLAIN_STATE:
            setattr(self, name, state[name])
        self.loss_sum = self.loss_sum.to(self.plan.device)

    @property
    def global_step(self) -> int:
        """Steps done since the first epoch."""
        return self.epoch * self.steps_per_epoch + self.step

    def train_step(self, batch: Batch) -> None:
        """One optimizer step; out of memory, it is redone in smaller parts, three times at most."""
        self.model.train()
        lr = learning_rate(self.global_step, self.plan, self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        while True:
            try:
                loss = self._gradients(batch)
                break
            except torch.OutOfMemoryError:
                pass  # left first: the error's traceback holds the step's tensors
            self._halve(len(batch.classes))
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.recipe.clip_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update(self.model, step=self.global_step)
        self.loss_sum += loss
        self.step += 1

    def _gradients(self, batch: Batch) -> torch.Tensor:
        torch.manual_seed(self.plan.seed * 1_000_003 + self.global_step)  # dropout
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.plan.device)
        parts = zip(
            batch.pictures.chunk(self.micro_batches),
            batch.classes.chunk(self.micro_batches),
            strict=True,
        )
        for pictures, classes in parts:
            loss = self._loss(pictures, classes) * (len(classes) / len(batch.classes))
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    def _loss(self, pictures: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        inputs = self.normalise(pictures.to(self.plan.device, non_blocking=True))
        targets = classes.to(self.plan.device, non_blocking=True)
        with autocast(self.plan):
            logits = self._forward(inputs)
        smoothing = self.plan.recipe.label_smoothing
        return F.cross_entropy(logits.float(), targets, label_smoothing=smoothing)

    def _halve(self, batch_size: int) -> None:
        self.micro_batches *= 2
        torch.cuda.empty_cache()
        if self.micro_batches > min(2**MEMORY_RETRIES, batch_size):
            raise MachineError(
                f"Out of GPU memory even in {self.micro_batches // 2} parts of a batch.",
                f"Lower train.batch_size (is {self.plan.batch_size}) or scales.<scale>.image_px, "
                "or free the GPU: nvidia-smi names who uses it.",
            )
        self._log.warning(
            f"Out of GPU memory: the step is redone in {self.micro_batches} parts, "
            f"with the same effective batch of {batch_size}."
        )


_PLAIN_STATE = ("loss_sum", "epoch", "step", "seconds", "micro_batches", "best")


def train(
    model: nn.Module,
    plan: Plan,
    crops_dir: Path,
    augmenter: Augmenter,
    work: WorkFolder,
    live_dir: Path,
    log: RunLog,
) -> Trained:
    """Train on `crops_dir`/train.arrow, keep the average of the epoch best on val.arrow.

    Goes on from the folder's checkpoint when there is one.
    """
    train_set = CropDataset(crops_dir / "train.arrow", augmenter.image_px, augmenter, plan.seed)
    val_set = CropDataset(crops_dir / "val.arrow", augmenter.image_px, None, plan.seed)
    batches = EpochBatches(len(train_set), plan.batch_size, plan.seed, True, plan.repeats)
    trainer = Trainer(model, plan, batches.steps, log)
    history, resumes = _resume(trainer, work, log)
    recorder = Recorder(live_dir, log, plan.epochs, history)
    log.start(plan.epochs, trainer.epoch, plan.goals)
    pin = plan.device.type == "cuda"
    train_loader = loader(train_set, batches, plan.num_workers, pin)
    val_workers = max(plan.num_workers // 2, min(plan.num_workers, 1))
    val_loader = loader(val_set, _val_batches(val_set, plan), val_workers, pin)

    def save() -> None:
        work.save({**trainer.state(), "history": recorder.history, "resumes": resumes})

    with deferred() as interrupt:
        while trainer.epoch < plan.epochs:
            batches.epoch, batches.start_step = trainer.epoch, trainer.step
            _epoch(trainer, train_loader, save, interrupt, log)
            save()  # validation may outlast the patience of who sent a signal
            _close_epoch(trainer, val_loader, recorder)
            save()
            recorder.announce()
    recorder.finish(resumed=resumes, best_epoch=trainer.best["epoch"], batch_size=plan.batch_size)
    return Trained(trainer.best["weights"], trainer.best["metrics"], trainer.best["epoch"])


def _resume(trainer: Trainer, work: WorkFolder, log: RunLog) -> tuple[list[Any], int]:
    state, damaged = work.load()
    for line in damaged:
        log.warning(line)
    if state is None:
        return [], 0
    trainer.restore(state)
    log.info(f"resuming after epoch {trainer.epoch}, step {trainer.step}")
    return state["history"], state["resumes"] + 1


def _epoch(
    trainer: Trainer,
    batches: Any,
    save: Callable[[], None],
    interrupt: Interrupt,
    log: RunLog,
) -> None:
    begun_s = saved_s = time.monotonic()
    before_s, before_step = trainer.seconds, trainer.step
    for batch in batches:
        trainer.train_step(batch)
        now_s = time.monotonic()
        trainer.seconds = before_s + now_s - begun_s
        if log.due():
            rate = (trainer.step - before_step) * trainer.plan.batch_size / (now_s - begun_s)
            figures = {"images_per_s": rate, "loss": float(trainer.loss_sum) / trainer.step}
            log.progress(trainer.step, trainer.steps_per_epoch, trainer.epoch + 1, figures)
        if interrupt.came or now_s - saved_s > SAVE_PERIOD_S:
            save()
            saved_s = now_s
        if interrupt.came:
            raise KeyboardInterrupt


def _close_epoch(trainer: Trainer, val_batches: Any, recorder: Recorder) -> None:
    begun_s = time.monotonic()
    train_loss = float(trainer.loss_sum) / trainer.steps_per_epoch
    if not math.isfinite(train_loss):
        raise MachineError(
            f"The loss is {train_loss} in epoch {trainer.epoch + 1}.",
            f"Lower train.lr (is {trainer.plan.lr}), or set train.mixed_precision=off.",
        )
    samples = trainer.steps_per_epoch * trainer.plan.batch_size
    metrics = {
        "loss/train": round(train_loss, 6),
        **measure(trainer.average.module, trainer.normalise, val_batches, trainer.plan),
        "lr": learning_rate(trainer.global_step - 1, trainer.plan, trainer.steps_per_epoch),
        "images_per_s": round(samples / trainer.seconds, 1),
    }
    rank = (metrics["top1"], -metrics["loss/val"])
    if not trainer.best or rank > tuple(trainer.best["rank"]):
        weights = {
            k: v.detach().cpu().clone() for k, v in trainer.average.module.state_dict().items()
        }
        kept = {name: metrics[name] for name in ("loss/val", "top1", "top5")}
        trainer.best = {
            "rank": list(rank),
            "epoch": trainer.epoch + 1,
            "metrics": kept,
            "weights": weights,
        }
    recorder.record(metrics, trainer.seconds + time.monotonic() - begun_s)
    trainer.epoch, trainer.step, trainer.seconds = trainer.epoch + 1, 0, 0.0
    trainer.loss_sum = torch.zeros_like(trainer.loss_sum)


@torch.inference_mode()
def measure(model: nn.Module, normalise: nn.Module, batches: Any, plan: Plan) -> dict[str, float]:
    """Cross-entropy (no smoothing), top-1 and top-5 shares on labelled crops."""
    model.eval()
    sums = torch.zeros(3, dtype=torch.float64, device=plan.device)
    count = 0
    for batch in batches:
        targets = batch.classes.to(plan.device, non_blocking=True)
        with autocast(plan):
            logits = model(normalise(batch.pictures.to(plan.device, non_blocking=True))).float()
        ranks = (logits > logits.gather(1, targets[:, None])).sum(1)
        loss = F.cross_entropy(logits, targets, reduction="sum")
        sums += torch.stack([loss, (ranks < 1).sum(), (ranks < 5).sum()]).double()
        count += len(targets)
    loss_val, top1, top5 = (sums / count).tolist()
    return {"loss/val": round(loss_val, 6), "top1": round(top1, 6), "top5": round(top5, 6)}


def learning_rate(step: int, plan: Plan, steps_per_epoch: int) -> float:
    """Linear warm-up, then a cosine to zero over all epochs."""
    warmup = plan.recipe.warmup_epochs * steps_per_epoch
    total = plan.epochs * steps_per_epoch
    if step < warmup:
        return plan.lr * (step + 1) / (warmup + 1)
    return plan.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))


def autocast(plan: Plan) -> torch.autocast:
    """The precision of forward passes."""
    return torch.autocast(plan.device.type, dtype=plan.dtype, enabled=plan.dtype is not None)


def _val_batches(val_set: CropDataset, plan: Plan) -> EpochBatches:
    return EpochBatches(len(val_set), plan.batch_size * 2, plan.seed, False)
