"""One training of the classifier outside the pipeline, for benchmarks that compare several."""

from dataclasses import replace
from pathlib import Path

from pillsnap import checkpoints, classifier, devices, manifest, training
from pillsnap.augment import Augmenter
from pillsnap.params import Params
from pillsnap.places import Places
from pillsnap.run_log import RunLog


def train_once(
    params: Params, crops_dir: Path, augmenter: Augmenter, epochs: int, folder: Path
) -> training.Trained:
    """Train by the scale's recipe on `crops_dir`; works in `folder`, nothing is published."""
    scale, device = params.at_scale, devices.choose(params.train.device)
    plan = replace(training.Plan.of(params, device), epochs=epochs, goals={})
    model = classifier.build(
        scale.classifier, class_count(params), scale.classifier_weights, params.seed
    )
    with (
        RunLog("benchmark", folder / "live", "WARNING") as log,
        checkpoints.WorkFolder("benchmark", "run", folder / "work") as work,
    ):
        live_dir = folder / "live" / "classification"
        return training.train(model, plan, crops_dir, augmenter, work, live_dir, log)


def class_count(params: Params) -> int:
    """Classes of the chosen scale's manifests."""
    return len(manifest.read_classes(Places.of(params).classes))
