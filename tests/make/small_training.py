"""The classifier's training in this process: a small model, coloured squares, nine steps."""

import signal

import orjson
import pytest
import torch

from make.import_graph import ROOT
from pillsnap import params
from pillsnap.classification import classifier, train
from pillsnap.classification.augment import Augmenter
from pillsnap.classification.train import ClassificationPlan, Trainer
from pillsnap.stage.log import RunLog
from pillsnap.training.checkpoints import WorkFolder

RECIPE = params.load(ROOT / "params.yaml").train_classification
MODEL = "test_resnet"
STEPS = 9  # in 3 epochs


def plan(**changes):
    base = {
        "epochs": 3, "repeats": 1, "batch_size": 16, "lr": 3e-3, "recipe": RECIPE, "seed": 7,
        "device": torch.device("cpu"), "dtype": None, "compile": False, "num_workers": 0,
        "goals": {},
    }  # fmt: skip
    return ClassificationPlan(**{**base, **changes})


def fit(folder, crops_dir, the_plan, image_px=24):
    model = classifier.build(MODEL, 4, None, seed=7)
    with (
        RunLog("train_classification", folder / "live") as log,
        WorkFolder("c", "f", folder) as work,
    ):
        return train.train(
            model, the_plan, crops_dir, Augmenter(image_px, RECIPE), work, folder / "live/c", log
        )


def epochs(folder):
    lines = (folder / "live/events.jsonl").read_bytes().splitlines()
    return [e["metrics"] for e in map(orjson.loads, lines) if e["kind"] == "epoch"]


def fit_in_two(monkeypatch, at_step, folder, crops_dir, the_plan):
    """Train until SIGTERM after so many steps, then resume; what was trained, the number of steps.

    Changes to the trainer must be made before.
    """
    steps, step = [0], Trainer.train_step

    def counted(self, batch, whole):
        step(self, batch, whole)
        steps[0] += 1
        if steps[0] == at_step:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Trainer, "train_step", counted)
    with pytest.raises(KeyboardInterrupt):
        fit(folder, crops_dir, the_plan)
    return fit(folder, crops_dir, the_plan), steps[0]


def change_gradients(monkeypatch, change):
    """Call `change(trainer)`, which may raise, after the gradients of every step are computed."""
    gradients = Trainer.gradients

    def changed(self, batch, whole):
        loss = gradients(self, batch, whole)
        change(self)
        return loss

    monkeypatch.setattr(Trainer, "gradients", changed)


def spoil(trainer):
    gradient = next(trainer.model.parameters()).grad
    gradient[(0,) * gradient.ndim] = torch.inf
