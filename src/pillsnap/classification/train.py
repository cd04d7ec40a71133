"""The classifier's training loop: exact under interruption, on one device or several."""

import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from pillsnap.classification.augment import Augmenter
from pillsnap.classification.batches import Batch, CropDataset, EpochBatches, loader, shield_loaders
from pillsnap.classification.trainer import ClassificationPlan, Trainer, autocast, learning_rate
from pillsnap.stage.log import RunLog
from pillsnap.stage.signals import Interrupt, deferred
from pillsnap.training import ranking
from pillsnap.training.checkpoints import WorkFolder
from pillsnap.training.keeper import Keeper
from pillsnap.training.session import Trained

SAVE_PERIOD_S = 120.0


class NotFiniteError(Exception):
    """The model's answers are not finite."""


def train(
    model: nn.Module,
    plan: ClassificationPlan,
    crops_dir: Path,
    augmenter: Augmenter,
    folder: WorkFolder,
    live_dir: Path,
    log: RunLog,
) -> Trained:
    """Train on `crops_dir`/train.arrow; the averaged weights of the epoch best on val.arrow.

    Resumes from the state in `folder` where there is one. Every rank calls it; only rank 0 uses
    `folder`, `live_dir` and `log`.
    """
    train_set = CropDataset(crops_dir / "train.arrow", augmenter.image_px, augmenter, plan.seed)
    val_set = CropDataset(crops_dir / "val.arrow", augmenter.image_px, None, plan.seed)
    batches = EpochBatches(
        len(train_set), plan.batch_size, plan.seed, True, plan.repeats, plan.ranks
    )
    keeper = Keeper(plan, folder, live_dir, log)
    trainer = Trainer(model, plan, batches.steps, log)
    keeper.resume(trainer)
    val_batches = EpochBatches(len(val_set), plan.batch_size * 2, plan.seed, False, 1, plan.ranks)
    if plan.num_workers and plan.ranks.world_size > 1:
        shield_loaders()
    val_workers = max(plan.num_workers // 2, min(plan.num_workers, 1))
    pin = plan.device.type == "cuda"
    train_loader = loader(train_set, batches, plan.num_workers, pin)
    val_loader = loader(val_set, val_batches, val_workers, pin)
    with deferred() as interrupt:
        while trainer.epoch < plan.epochs:
            batches.epoch, batches.start_step = trainer.epoch, trainer.step
            _epoch(trainer, train_loader, batches, keeper, interrupt, log)
            # Saved before validation, which may take longer than the sender of a signal waits.
            if not keeper.repeats(trainer, keeper.save(trainer)):
                _close_epoch(trainer, val_loader, keeper)
    return keeper.finish()


def _epoch(
    trainer: Trainer,
    loaded: DataLoader[Batch],
    batches: EpochBatches,
    keeper: Keeper,
    interrupt: Interrupt,
    log: RunLog,
) -> None:
    begun_s = saved_s = time.monotonic()
    before_s, before_step = trainer.seconds, trainer.step
    for batch in loaded:
        trainer.train_step(batch, batches.size(trainer.step))
        now_s = time.monotonic()
        trainer.seconds = before_s + now_s - begun_s
        if log.due():
            rate = (trainer.step - before_step) * trainer.plan.batch_size / (now_s - begun_s)
            metrics = {"images_per_s": rate, "loss": trainer.mean_loss}
            log.progress(trainer.step, trainer.steps_per_epoch, trainer.epoch + 1, metrics)
        stop = trainer.plan.ranks.any(interrupt.came)  # all after the same step
        if stop or now_s - saved_s > SAVE_PERIOD_S:
            keeper.save(trainer)
            saved_s = now_s
        if stop:
            keeper.flush()
            raise KeyboardInterrupt


def _close_epoch(trainer: Trainer, val_batches: Any, keeper: Keeper) -> None:
    begun_s = time.monotonic()
    try:
        measured = measure(trainer.average.module, trainer.normalise, val_batches, trainer.plan)
    except NotFiniteError as error:
        keeper.repeats(trainer, str(error))  # every rank has the same sums
        return
    samples = trainer.steps_per_epoch * trainer.plan.batch_size
    metrics = {
        "loss/train": round(trainer.mean_loss, 6),
        **measured,
        "lr": learning_rate(trainer.global_step - 1, trainer.plan, trainer.steps_per_epoch),
        "images_per_s": round(samples / trainer.seconds, 1),
        "skipped_steps": trainer.skipped,
    }
    rank = (measured["top1"], -measured["loss/val"])
    keeper.offer(rank, measured, trainer.average.module.state_dict)
    seconds = trainer.seconds + time.monotonic() - begun_s
    trainer.next_epoch()
    keeper.close_epoch(trainer, metrics, seconds)


@torch.inference_mode()
def measure(
    model: nn.Module, normalise: nn.Module, batches: Any, plan: ClassificationPlan
) -> dict[str, float]:
    """Cross-entropy, top-1 and top-5 over all ranks; NotFiniteError if a logit is not finite."""
    model.eval()
    sums = torch.zeros(4, dtype=torch.float64, device=plan.device)
    count = 0
    for batch in batches:
        if not len(batch.classes):
            continue  # a rank's part of a small batch
        targets = batch.classes.to(plan.device, non_blocking=True)
        with autocast(plan):
            logits = model(normalise(batch.pictures.to(plan.device, non_blocking=True))).float()
        rank = ranking.ranks(logits, logits.gather(1, targets[:, None]))
        loss = F.cross_entropy(logits, targets, reduction="sum")
        bad = ranking.non_finite(logits)
        sums += torch.stack([loss, (rank < 1).sum(), (rank < 5).sum(), bad.sum()]).double()
        count += len(targets)
    plan.ranks.add([sums])
    total = plan.ranks.total(count)
    if bad_rows := int(sums[3]):
        raise NotFiniteError(f"the logits of {bad_rows} of {total} val crops are not finite")
    loss_val, top1, top5, _ = (sums / total).tolist()
    return {"loss/val": round(loss_val, 6), "top1": round(top1, 6), "top5": round(top5, 6)}
