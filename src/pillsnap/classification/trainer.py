"""The classifier's training plan and state, and one step of it, which never waits for the device.

Everything random in a step is keyed by (seed, epoch, step) or (seed, epoch, sample), so a run
that was killed and resumed ends with the same weights as an undisturbed one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from timm.optim import param_groups_weight_decay
from torch import nn

from pillsnap.classification import classifier
from pillsnap.classification.average import Average
from pillsnap.classification.batches import Batch
from pillsnap.errors import MachineError, reason_of
from pillsnap.params import Params, TrainClassificationParams
from pillsnap.stage.log import RunLog
from pillsnap.training import devices
from pillsnap.training.ranks import ALONE, LEAST_PART, Ranks
from pillsnap.training.safe_step import SafeStep
from pillsnap.training.session import TrainingPlan, shared

MEMORY_RETRIES = 3
MERGE_AFTER_STEPS = 200
# Of fp16. torch begins at 2**16, where the first steps overflow; it doubles every 2,000 steps.
FIRST_LOSS_SCALE = 2.0**12


@dataclass(frozen=True, kw_only=True)
class ClassificationPlan(TrainingPlan):
    """The settings of the classifier's training."""

    lr_key: ClassVar[str] = "train.lr"
    recipe: TrainClassificationParams
    repeats: int  # times an epoch shows each crop
    compile: bool

    @classmethod
    def of(cls, params: Params, device: torch.device, group: Ranks = ALONE) -> "ClassificationPlan":
        """The plan that params.yaml describes."""
        return cls(
            **shared(params, device, group),
            batch_size=params.batch_size,
            lr=params.lr,
            recipe=params.train_classification,
            repeats=params.at_scale.repeats,
            compile=devices.compiles(device, params.train.compile),
            goals={"goal/top1": params.targets.classification_top1},
        )


class Trainer:
    """The state of a training and one step of it."""

    def __init__(
        self, model: nn.Module, plan: ClassificationPlan, steps_per_epoch: int, log: RunLog
    ) -> None:
        self.plan, self.steps_per_epoch, self._log = plan, steps_per_epoch, log
        self.model = classifier.placed(model, plan.device).train()
        self.average = Average(self.model, plan.recipe.ema_decay)
        self.normalise = classifier.Normaliser(*classifier.input_statistics(model)).to(plan.device)
        groups = param_groups_weight_decay(self.model, plan.recipe.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=plan.lr, fused=True)
        self.scaler = torch.amp.GradScaler(
            plan.device.type, FIRST_LOSS_SCALE, enabled=plan.dtype is torch.float16
        )
        self.safe_step = SafeStep(
            self.model, self.optimizer, self.scaler, plan.recipe.clip_grad_norm
        )
        self.loss_sum = torch.zeros((), device=plan.device)  # of the steps of this epoch
        self.epoch = self.step = 0  # complete epochs, steps of the current one
        self.seconds = 0.0  # spent in the current epoch
        self.micro_batches, self.good_steps = 1, 0  # parts of a step, steps since that changed
        self._compile = plan.compile
        self._forward: Callable[[torch.Tensor], torch.Tensor] = self.model

    def state(self) -> dict[str, Any]:
        """Everything the rest of the training depends on."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "skipped": self.safe_step.skipped,
            "loss_sum": self.loss_sum,
            **{name: getattr(self, name) for name in _PLAIN_STATE},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.model.load_state_dict(state["model"])
        self.average.module.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.safe_step.restart(int(state["skipped"]))
        self.loss_sum = state["loss_sum"].to(self.plan.device)
        for name in _PLAIN_STATE:
            setattr(self, name, state[name])

    def next_epoch(self) -> None:
        """The epoch is complete."""
        self.epoch, self.step, self.seconds = self.epoch + 1, 0, 0.0
        self.loss_sum = torch.zeros_like(self.loss_sum)
        self.safe_step.restart()

    def unsound(self) -> str | None:
        """Why the steps of this epoch must not be used, None if they may. Waits for the device."""
        return self.safe_step.unsound(self.step)

    @property
    def skipped(self) -> int:
        """Steps of this epoch that were skipped. Waits for the device."""
        return int(self.safe_step.skipped)

    @property
    def mean_loss(self) -> float:
        """Of the steps of this epoch that were taken, NaN if there are none. Waits."""
        taken = self.step - self.skipped
        return float(self.loss_sum) / taken if taken else math.nan

    @property
    def global_step(self) -> int:
        """Steps done since the first epoch."""
        return self.epoch * self.steps_per_epoch + self.step

    def train_step(self, batch: Batch, whole: int | None = None) -> None:
        """One optimizer step, redone in parts if memory ran out. `whole`: samples of all ranks."""
        whole = len(batch.classes) if whole is None else whole
        lr = learning_rate(self.global_step, self.plan, self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        while True:
            loss = self._gradients_or_none(batch, whole)
            if not self.plan.ranks.any(loss is None):
                break
            self.safe_step.undo_forward()
            self._halve(whole)
        assert loss is not None
        self.plan.ranks.share(self.model, len(batch.classes) / whole, loss)
        finite = self.safe_step(loss)
        self.average.update(self.global_step)
        self.loss_sum += torch.where(finite, loss, 0.0)
        self.step += 1
        self._merge()

    def _gradients_or_none(self, batch: Batch, whole: int) -> torch.Tensor | None:
        """None if memory ran out. A compiler that fails is given up."""
        try:
            if self._compile and self._forward is self.model:
                self._forward = torch.compile(self.model)
            return self.gradients(batch, whole)
        except Exception as error:
            if devices.out_of_memory(error):
                return None  # redone outside the handler: the traceback holds the step's tensors
            if not self._compile:
                raise
            self._log.warning(devices.COMPILE_FAILED + reason_of(error))
        self._compile, self._forward = False, self.model
        self.safe_step.undo_forward()
        return self._gradients_or_none(batch, whole)

    def gradients(self, batch: Batch, whole: int) -> torch.Tensor:
        """Compute the gradients of this rank's part of a batch; its part of the mean loss."""
        step_seed = self.plan.seed * 1_000_003 + self.global_step
        torch.manual_seed(step_seed + (self.plan.ranks.rank << 40))  # dropout
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.plan.device)
        if not len(batch.classes):
            self.scaler.scale(total)  # the scaler is set up by its first use
            return total
        count = max(1, min(self.micro_batches, len(batch.classes) // LEAST_PART))
        parts = (tensor.tensor_split(count) for tensor in (batch.pictures, batch.classes))
        for pictures, classes in zip(*parts, strict=True):
            loss = self._loss(pictures, classes) * (len(classes) / whole)
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    def _loss(self, pictures: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        inputs = self.normalise(pictures.to(self.plan.device, non_blocking=True))
        targets = classes.to(self.plan.device, non_blocking=True)
        with autocast(self.plan):
            logits = self._forward(inputs)
        return F.cross_entropy(
            logits.float(), targets, label_smoothing=self.plan.recipe.label_smoothing
        )

    def _halve(self, batch_size: int) -> None:
        self.micro_batches, self.good_steps = self.micro_batches * 2, 0
        torch.cuda.empty_cache()
        most_parts = math.ceil(batch_size / self.plan.ranks.world_size) // LEAST_PART
        if self.micro_batches > min(2**MEMORY_RETRIES, most_parts):
            raise MachineError(
                f"Out of GPU memory even in {self.micro_batches // 2} parts of a batch.",
                f"Lower train.batch_size (is {self.plan.batch_size}) or scales.<scale>.image_px, "
                "or free the GPU: nvidia-smi names who uses it.",
            )
        self._log.warning(
            f"Out of GPU memory: the step is redone in {self.micro_batches} parts, "
            f"with the same effective batch of {batch_size}."
        )

    def _merge(self) -> None:
        """After many steps in parts, try with half as many: the memory may be free again."""
        self.good_steps += 1
        if self.micro_batches > 1 and self.good_steps >= MERGE_AFTER_STEPS:
            self.micro_batches, self.good_steps = self.micro_batches // 2, 0
            self._log.info(f"steps in {self.micro_batches} parts from here on, if memory suffices")


_PLAIN_STATE = ("epoch", "step", "seconds", "micro_batches", "good_steps")


def learning_rate(step: int, plan: ClassificationPlan, steps_per_epoch: int) -> float:
    """Linear warm-up, then a cosine to zero over all epochs."""
    warmup = plan.recipe.warmup_epochs * steps_per_epoch
    total = plan.epochs * steps_per_epoch
    if step < warmup:
        return plan.lr * (step + 1) / (warmup + 1)
    return plan.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))


def autocast(plan: ClassificationPlan) -> torch.autocast:
    """The precision of forward passes."""
    return torch.autocast(plan.device.type, dtype=plan.dtype, enabled=plan.dtype is not None)
