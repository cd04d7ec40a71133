"""One training of the classifier outside the pipeline, for benchmarks that compare several."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
from torch import nn

from pillsnap.arrays import Pixels
from pillsnap.classification import batches, classifier, train
from pillsnap.classification.augment import Augmenter
from pillsnap.classification.batches import CropDataset
from pillsnap.classification.trainer import Trainer
from pillsnap.dataset import manifest
from pillsnap.dataset.crops import CropStore
from pillsnap.params import Params
from pillsnap.places import Places
from pillsnap.stage.log import RunLog
from pillsnap.training import checkpoints, devices

STORED = 4 / 3  # sides of the demo's stored crops, relative to its input


def unchanged(model: nn.Module) -> nn.Module:
    """The model itself."""
    return model


@dataclass(frozen=True)
class Variant:
    """What differs from the recipe: keys of params.yaml, and parts of the training."""

    recipe: dict[str, Any] = field(default_factory=dict)  # of train_classification
    scale: dict[str, Any] = field(default_factory=dict)  # of scales.<scale>
    train: dict[str, Any] = field(default_factory=dict)
    augmenter: Callable[[int, Any], Augmenter] = Augmenter
    model: Callable[[nn.Module], nn.Module] = unchanged
    trainer: type[Trainer] = Trainer
    dataset: type[CropDataset] = CropDataset

    def of(self, params: Params) -> Params:
        """The parameters with the keys that differ."""
        scale = params.at_scale.model_copy(update=self.scale)
        changed = {
            "train_classification": params.train_classification.model_copy(update=self.recipe),
            "train": params.train.model_copy(update=self.train),
            "scales": {**params.scales, params.scale: scale},
        }
        return params.model_copy(update=changed)


class SmallCrops(CropStore):
    """Crops scaled to `side` by area, as validate would have stored them."""

    side = 0

    def decode(self, index: int) -> Pixels:
        """Crop `index`, at most [side, side, 3]."""
        crop = super().decode(index)
        if self.side >= len(crop):
            return crop
        small: Pixels = cv2.resize(crop, (self.side, self.side), interpolation=cv2.INTER_AREA)
        return small


def train_once(
    params: Params, crops_dir: Path, epochs: int, folder: Path, variant: Variant = Variant()
) -> train.Trained:
    """Train by the scale's recipe on `crops_dir`; works in `folder`, nothing is published."""
    scale, device = params.at_scale, devices.choose(params.train.device)
    plan = replace(train.ClassificationPlan.of(params, device), epochs=epochs, goals={})
    store = type("Crops", (SmallCrops,), {"side": round(STORED * scale.image_px)})
    model = variant.model(
        classifier.build(
            scale.classifier,
            class_count(params),
            scale.classifier_weights,
            params.seed,
            scale.drop_path,
        )
    )
    with (
        RunLog("benchmark", folder / "live", "WARNING") as log,
        checkpoints.WorkFolder("benchmark", "run", folder / "work") as work,
        patch.object(train, "Trainer", variant.trainer),
        patch.object(train, "CropDataset", variant.dataset),
        patch.object(batches, "CropStore", store),
    ):
        live_dir = folder / "live" / "classification"
        augmenter = variant.augmenter(scale.image_px, params.train_classification)
        return train.train(model, plan, crops_dir, augmenter, work, live_dir, log)


def class_count(params: Params) -> int:
    """Classes of the chosen scale's manifests."""
    return len(manifest.read_classes(Places.of(params).classes))
