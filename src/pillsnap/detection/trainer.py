"""Ultralytics' trainer, subclassed where 8.4 does not resume exactly.

Samples are keyed by (seed, epoch, index), and a full-precision checkpoint is stored at every epoch,
so that an interrupted training ends with the same weights as an undisturbed one. (Ultralytics' own
checkpoint holds half-precision averages, no random state, and is not written atomically.)
"""

# isort: off
import pillsnap.detection.settings  # noqa: F401  # first: sets Ultralytics' switches
# isort: on

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.torch_utils import unwrap_model

from pillsnap.detection.frames import Frames, Keys, LazyLoader
from pillsnap.detection.letterbox import STRIDE
from pillsnap.detection.plan import DetectionPlan
from pillsnap.errors import MachineError
from pillsnap.stage.log import RunLog
from pillsnap.stage.signals import Interrupt, leave_to_parent
from pillsnap.training.keeper import Keeper
from pillsnap.training.safe_step import SafeStep

MAX_NORM = 10.0  # of the gradient; Ultralytics' own
METRIC_NAMES = {
    "precision": "metrics/precision(B)",
    "recall": "metrics/recall(B)",
    "map50": "metrics/mAP50(B)",
    "map50_95": "metrics/mAP50-95(B)",
}


@dataclass(frozen=True)
class Run:
    """What the trainer needs in addition to Ultralytics' own arguments."""

    plan: DetectionPlan
    data_dir: Path
    folder: Path  # for Ultralytics' files
    keeper: Keeper
    log: RunLog
    interrupt: Interrupt


class PillTrainer(DetectionTrainer):  # type: ignore[misc]  # Ultralytics has no types
    """Ultralytics' trainer with exact resume and this project's records."""

    model: Any
    amp: bool

    def __init__(self, run: Run, overrides: dict[str, Any]) -> None:
        self.run = run
        self.complete = self.steps = 0  # epochs, steps of the current one
        super().__init__(overrides=overrides)
        self.add_callback("on_train_start", PillTrainer._use_bf16)
        self.add_callback("on_train_epoch_start", PillTrainer._begin_epoch)
        self.add_callback("on_train_batch_end", PillTrainer._end_batch)

    def get_dataset(self) -> dict[str, Any]:
        images = self.run.data_dir / "images"
        return {
            "path": str(self.run.data_dir),
            "train": str(images / "train"),
            "val": str(images / "val"),
            "names": {0: "pill"},
            "nc": 1,
            "channels": 3,
        }

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> Frames:
        training = mode == "train"
        return Frames(
            self.run.plan.seed,
            img_path=img_path,
            imgsz=self.args.imgsz,
            batch_size=batch,
            augment=training,
            hyp=self.args,
            rect=not training,
            stride=STRIDE,
            pad=0.0 if training else 0.5,
            task="detect",
            data=self.data,
        )

    def get_dataloader(
        self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train"
    ) -> Any:
        if mode != "train":
            return super().get_dataloader(dataset_path, batch_size, rank, mode)
        plan = self.run.plan
        dataset = self.build_dataset(dataset_path, mode, batch_size)
        keys = Keys(len(dataset), plan.seed, batch_size, plan.ranks)
        return LazyLoader(
            dataset,
            batch_size=min(batch_size // plan.ranks.world_size, len(keys)),
            sampler=keys,
            num_workers=self.args.workers,
            collate_fn=dataset.collate_fn,
            worker_init_fn=leave_to_parent,
            pin_memory=self.device.type == "cuda",
            persistent_workers=self.args.workers > 0,
            generator=torch.Generator().manual_seed(plan.seed),
        )

    def setup_model(self) -> Any:
        """channels_last on the CPU as well: a quarter faster there (Ultralytics: CUDA only)."""
        checkpoint = super().setup_model()
        if self.device.type == "cpu":
            self.model = self.model.to(memory_format=torch.channels_last)
        return checkpoint

    def _use_bf16(self) -> None:
        """On the CPU as well, where torch has bf16 autocast but Ultralytics refuses `amp=bf16`."""
        self.amp = self.run.plan.bf16

    def _begin_epoch(self) -> None:
        self._epoch_begun_s = time.monotonic()
        self._batches = self.steps = 0
        self._loss_sum, self._losses = torch.zeros(2, device=self.device)  # finite ones only
        self._safe_step.restart()
        self.train_loader.sampler.epoch = self.epoch
        torch.manual_seed(self.run.plan.seed * 1_000_003 + self.epoch)

    def _end_batch(self) -> None:
        self._batches += 1
        loss = sum(self.loss_items.values())
        self._loss_sum += torch.where(loss.isfinite(), loss, 0.0)
        self._losses += loss.isfinite()
        if self.run.plan.ranks.any(self.run.interrupt.came):  # all after the same step
            raise KeyboardInterrupt
        if self.run.log.due():
            seconds = time.monotonic() - self._epoch_begun_s
            rate = self._batches * self.batch_size / seconds
            metrics = {"images_per_s": rate, "loss": float(self._loss_sum / self._losses)}
            self.run.log.progress(self._batches, len(self.train_loader), self.epoch + 1, metrics)

    def optimizer_step(self) -> None:
        """With the gradients of the whole batch, summed over all ranks; their parts are equal."""
        ranks = self.run.plan.ranks
        ranks.share(self.model, 1 / ranks.world_size)
        self._safe_step()
        self.steps += 1
        self.optimizer.zero_grad()
        self.ema.update(self.model)

    def build_optimizer(self, *arguments: Any, **options: Any) -> torch.optim.AdamW:
        """Fused on the CPU as well (Ultralytics: CUDA only): SafeStep needs it."""
        groups = super().build_optimizer(*arguments, **options).param_groups
        return torch.optim.AdamW([{**group, "fused": True} for group in groups], fused=True)

    def _build_train_pipeline(self) -> None:
        """Called again with half the batch after running out of memory: for a single rank only."""
        if self.optimizer is not None:
            if self.run.plan.ranks.world_size > 1:
                raise RuntimeError("out of memory in one of several ranks")
            self._safe_step.undo_forward()
        super()._build_train_pipeline()

    def validate(self) -> Any:
        self._trained_s = time.monotonic() - self._epoch_begun_s
        return super().validate()

    def save_model(self) -> bool:
        """An epoch is complete; every rank has measured the same average on the same frames."""
        metrics = self._epoch_metrics()
        named = {name: metrics[name] for name in METRIC_NAMES}
        self.run.keeper.offer((float(self.fitness),), named, self.ema.ema.state_dict)
        self.complete = self.epoch + 1
        self.run.keeper.close_epoch(self, metrics, time.monotonic() - self._epoch_begun_s)
        return False  # Ultralytics' own checkpoint callbacks have nothing to do

    def state(self) -> dict[str, Any]:
        """Everything the rest of the training depends on."""
        return {
            "model": unwrap_model(self.model).state_dict(),
            "average": self.ema.ema.state_dict(),
            "updates": self.ema.updates,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.complete,
            "best_fitness": self.best_fitness,
            "batch_size": self.batch_size,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        model = unwrap_model(self.model)
        model.load_state_dict(state["model"])
        self.ema.ema.load_state_dict(state["average"])
        self.ema.updates = state["updates"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self._safe_step.restart()
        self.best_fitness = state["best_fitness"]
        self.complete = self.start_epoch = state["epoch"]
        if getattr(model.model[-1], "one2one_cv2", None) is not None:
            model.criterion = model.init_criterion()  # YOLO26 shifts its loss weights each epoch
            model.criterion.updates = self.start_epoch - 1
            model.criterion.update()

    def resume_training(self, ckpt: Any) -> None:
        """Called once model, average and optimizer are built."""
        self._safe_step = SafeStep(self.model, self.optimizer, self.scaler, MAX_NORM)
        self.run.keeper.resume(self)

    def unsound(self) -> str | None:
        """Why the steps of this epoch must not be used, None if they may. Waits for the device."""
        return self._safe_step.unsound(self.steps)

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Called after validation: whether this epoch is repeated."""
        loss = self._val_loss()
        reason = None if math.isfinite(loss) else f"loss/val is {loss}"
        if not self.run.keeper.repeats(self, self.run.keeper.unsound(self) or reason):
            return False
        if self.complete != epoch:  # Ultralytics repeats this epoch only
            raise MachineError(
                f"Epoch {epoch + 1} is unusable, and the checkpoint before it is damaged.",
                "Repeat the command: it resumes from the last whole checkpoint.",
            )
        self.scheduler.last_epoch = epoch - 1
        return True

    def final_eval(self) -> None:
        """The evaluate stage measures the published checkpoint."""

    def _epoch_metrics(self) -> dict[str, float]:
        loss = self._loss_sum / self._losses
        self.run.plan.ranks.add([loss])
        train_loss = float(loss) / self.run.plan.ranks.world_size
        losses = {"loss/train": train_loss, "loss/val": self._val_loss()}
        named = {name: float(self.metrics[key]) for name, key in METRIC_NAMES.items()}
        rates = {
            "lr": float(self.optimizer.param_groups[0]["lr"]),
            "images_per_s": round(len(self.train_loader.dataset) / self._trained_s, 2),
            "skipped_steps": int(self._safe_step.skipped),
        }
        return {name: round(float(v), 6) for name, v in {**losses, **named}.items()} | rates

    def _val_loss(self) -> float:
        return float(sum(v for k, v in self.metrics.items() if k.startswith("val/")))
