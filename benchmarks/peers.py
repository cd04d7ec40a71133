"""What the classifier's training is measured against: loaders and loops as others write them.

Not a script: `training.py` runs them on its drawn set.
"""

# isort: off
import pillsnap.detection.settings  # noqa: F401  # first: sets Ultralytics' switches
# isort: on

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from ultralytics.cfg import get_cfg
from ultralytics.data import ClassificationDataset, build_dataloader
from ultralytics.models.yolo.classify import ClassificationTrainer
from ultralytics.nn.tasks import ClassificationModel
from ultralytics.utils import LOGGER

from pillsnap.classification import classifier, train
from pillsnap.classification.train import ClassificationPlan

LOGGER.setLevel("ERROR")
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
PREDECESSOR_PX = 384


def png_loader(frames_dir: Path, batch_size: int) -> DataLoader[Any]:
    """Whole PNG frames, decoded by PIL in every epoch and squashed to 384 px."""
    steps = [
        transforms.Resize((PREDECESSOR_PX, PREDECESSOR_PX)),
        transforms.RandomRotation(15),
        transforms.ColorJitter(0.2, 0.2),
        transforms.ToTensor(),
        transforms.Normalize(*IMAGENET),
    ]
    return DataLoader(ImageFolder(frames_dir, transforms.Compose(steps)), batch_size, shuffle=True)


def folder_loader(
    folder: Path, image_px: int, plan: ClassificationPlan, augment: bool, num_workers: int
) -> DataLoader[Any]:
    """torchvision's ImageFolder with the recipe's kinds of change, as its documents teach it."""
    recipe = plan.recipe
    changes = [
        transforms.RandomAffine(
            recipe.rotate_degrees,
            (recipe.translate, recipe.translate),
            (1 - recipe.scale, 1 + recipe.scale),
            interpolation=transforms.InterpolationMode.BILINEAR,
        ),
        transforms.ColorJitter(recipe.brightness, recipe.contrast),
    ]
    steps = [transforms.Resize((image_px, image_px)), *(changes if augment else [])]
    steps += [transforms.ToTensor(), transforms.Normalize(*IMAGENET)]
    return DataLoader(
        ImageFolder(folder, transforms.Compose(steps)),
        plan.batch_size,
        shuffle=augment,
        drop_last=augment,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )


def ultralytics_loader(
    folder: Path, image_px: int, batch_size: int, augment: bool, num_workers: int
) -> Any:
    """Ultralytics' classification loader with its default augmentation."""
    dataset = ClassificationDataset(str(folder), get_cfg(overrides={"imgsz": image_px}), augment)
    return build_dataloader(dataset, batch_size, num_workers, shuffle=augment, device="cpu")


def endless(loader: Any) -> Iterator[Any]:
    """Its batches, epoch after epoch."""
    while True:
        yield from loader


class PlainLoop:
    """The training loop of the tutorials with the same timm model, precision and optimizer."""

    def __init__(self, name: str, classes: int, plan: ClassificationPlan, total_steps: int) -> None:
        self._plan = plan
        self.model = classifier.build(name, classes, None, plan.seed).to(plan.device)
        self._optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=plan.lr, weight_decay=plan.recipe.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._optimizer, total_steps)
        self.loss = 0.0

    def step(self, batch: list[torch.Tensor]) -> None:
        """One optimizer step."""
        self.model.train()
        pictures, classes = (part.to(self._plan.device) for part in batch)
        self._optimizer.zero_grad()
        with train.autocast(self._plan):
            loss = F.cross_entropy(self.model(pictures), classes)
        loss.backward()
        self._optimizer.step()
        self._schedule.step()
        self.loss += loss.item()


class UltralyticsRun(ClassificationTrainer):  # type: ignore[misc]  # Ultralytics has no types
    """Ultralytics' classification training, around the same timm model."""

    def __init__(
        self, name: str, folder: Path, image_px: int, plan: ClassificationPlan, save_dir: Path
    ) -> None:
        self._name, self._seed = name, plan.seed
        self.epoch_seconds: list[float] = []
        super().__init__(
            overrides={
                "model": "yolo11n-cls.yaml", "data": str(folder), "imgsz": image_px,
                "epochs": plan.epochs, "batch": plan.batch_size, "nbs": plan.batch_size,
                "optimizer": "AdamW", "lr0": plan.lr, "cos_lr": True, "warmup_epochs": 1.0,
                "weight_decay": plan.recipe.weight_decay, "patience": plan.epochs,
                "workers": plan.num_workers, "device": "cpu", "seed": plan.seed, "amp": False,
                "pretrained": False, "plots": False, "val": False, "save": False,
                "save_dir": str(save_dir), "exist_ok": True,
            }
        )  # fmt: skip
        self.add_callback("on_train_epoch_start", UltralyticsRun._begin_epoch)
        self.add_callback("on_train_epoch_end", UltralyticsRun._end_epoch)

    def setup_model(self) -> None:
        wrapped = ClassificationModel("yolo11n-cls.yaml", nc=self.data["nc"], verbose=False)
        net = classifier.build(self._name, self.data["nc"], None, self._seed)
        net.f, net.i, net.type, net.np = -1, 0, self._name, 0  # what its forward asks of a layer
        wrapped.model, wrapped.save = nn.Sequential(net), []
        self.model = wrapped

    def final_eval(self) -> None:
        """The benchmark measures the averaged weights itself."""

    def validate(self) -> tuple[dict[str, float], float]:
        return {}, 0.0

    def _begin_epoch(self) -> None:
        self._begun_s = time.perf_counter()

    def _end_epoch(self) -> None:
        self.epoch_seconds.append(time.perf_counter() - self._begun_s)


@torch.inference_mode()
def top1(model: nn.Module, batches: Iterator[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Share of pictures named rightly."""
    model.eval()
    right = count = 0
    for pictures, classes in batches:
        right += int((model(pictures).argmax(1) == classes).sum())
        count += len(classes)
    return right / count
