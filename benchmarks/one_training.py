"""One training of the classifier outside the pipeline, for benchmarks that compare several."""

from dataclasses import replace
from pathlib import Path

from pillsnap.classification import classifier, train
from pillsnap.classification.augment import Augmenter
from pillsnap.dataset import manifest
from pillsnap.params import Params
from pillsnap.places import Places
from pillsnap.stage.log import RunLog
from pillsnap.training import checkpoints, devices


def train_once(
    params: Params, crops_dir: Path, augmenter: Augmenter, epochs: int, folder: Path
) -> train.Trained:
    """Train by the scale's recipe on `crops_dir`; works in `folder`, nothing is published."""
    scale, device = params.at_scale, devices.choose(params.train.device)
    plan = replace(train.ClassificationPlan.of(params, device), epochs=epochs, goals={})
    model = classifier.build(
        scale.classifier,
        class_count(params),
        scale.classifier_weights,
        params.seed,
        scale.drop_path,
    )
    with (
        RunLog("benchmark", folder / "live", "WARNING") as log,
        checkpoints.WorkFolder("benchmark", "run", folder / "work") as work,
    ):
        live_dir = folder / "live" / "classification"
        return train.train(model, plan, crops_dir, augmenter, work, live_dir, log)


def class_count(params: Params) -> int:
    """Classes of the chosen scale's manifests."""
    return len(manifest.read_classes(Places.of(params).classes))
