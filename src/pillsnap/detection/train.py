"""The detector's training: Ultralytics' arguments, its start, and its errors explained."""

# isort: off
import pillsnap.detection.settings  # noqa: F401  first: sets Ultralytics' switches
# isort: on

import os
from pathlib import Path

import torch
from ultralytics.nn.tasks import load_checkpoint
from ultralytics.utils import SETTINGS
from ultralytics.utils.downloads import attempt_download_asset

from pillsnap.boxes import MAX_PILLS
from pillsnap.detection.plan import DetectionPlan
from pillsnap.detection.trainer import PillTrainer, Run
from pillsnap.errors import CheckpointError, MachineError, reason_of
from pillsnap.params.paths import located
from pillsnap.stage.log import RunLog
from pillsnap.stage.signals import deferred
from pillsnap.training import devices
from pillsnap.training.checkpoints import WorkFolder
from pillsnap.training.keeper import Keeper
from pillsnap.training.ranks import ALONE
from pillsnap.training.session import Trained


def train(
    plan: DetectionPlan, data_dir: Path, folder: WorkFolder, live_dir: Path, log: RunLog
) -> Trained:
    """Train on `data_dir` (a YOLO data set); the averaged weights of the epoch best on its val.

    Resumes from the state in `folder` where there is one. Every rank calls it; only rank 0 uses
    `folder`, `live_dir` and `log`.
    """
    keeper = Keeper(plan, folder, live_dir, log)
    if keeper.epochs < plan.epochs:
        with deferred() as interrupt:
            trainer = _fit(Run(plan, data_dir.resolve(), folder.path, keeper, log, interrupt))
            keeper.batch_size = trainer.batch_size  # smaller after running out of memory
    return keeper.finish()


def pretrained_path(architecture: str, weights: str | None) -> str | None:
    """The .pt to start from: "hub" downloads Ultralytics' own, a path must exist."""
    cure = (
        "Download it where there is a network and set scales.<scale>.detector_weights to its path; "
        "null trains from scratch."
    )
    if weights is None:
        return None
    if weights != "hub":
        path = located(weights, CheckpointError)
        if not path.is_file():
            raise CheckpointError(f"Weights {path} are missing.", cure)
        return str(path)
    os.environ.pop("YOLO_OFFLINE", None)  # the only moment that needs a network
    target = Path(os.environ["YOLO_CONFIG_DIR"]) / f"{architecture}.pt"
    try:
        return str(attempt_download_asset(target, retry=0))
    except Exception as error:
        fact = f"{architecture}.pt could not be fetched: {reason_of(error)}"
        raise MachineError(fact, cure) from None
    finally:
        os.environ["YOLO_OFFLINE"] = "true"


def start_weights(architecture: str, weights: str | None) -> str | None:
    """The .pt to start from; refused before the training starts if no YOLO can be read from it."""
    path = pretrained_path(architecture, weights)
    try:
        if path is not None:
            load_checkpoint(path)
    except Exception as error:  # damaged, hostile and foreign files fail in many ways
        raise CheckpointError(
            f"{path} is not an Ultralytics checkpoint that loads without running code: "
            f"{reason_of(error)}",
            "Delete it if it was downloaded, else give another: scales.<scale>.detector_weights.",
        ) from None
    return path


def _trainer(run: Run) -> "PillTrainer":
    plan, recipe = run.plan, run.plan.recipe
    on_cuda = plan.device.type == "cuda"
    if plan.ranks.is_main:
        pretrained_path(plan.architecture, plan.weights)  # downloads for all
    plan.ranks.total(0)
    if switches := {key: False for key, value in SETTINGS.items() if value is True}:
        SETTINGS.update(switches)
    overrides = {
        "model": f"{plan.architecture}.yaml",
        "pretrained": start_weights(plan.architecture, plan.weights) or False,
        "data": str(run.data_dir / "dataset.yaml"),
        "imgsz": plan.image_px,
        "epochs": plan.epochs,
        "patience": plan.epochs,
        "batch": plan.batch_size,
        "nbs": plan.batch_size,  # one optimizer step per batch: 64 starves short trainings
        "optimizer": "AdamW",  # by name: "auto" ignores lr0
        "lr0": plan.lr,
        "cos_lr": True,
        "momentum": 0.9,
        "weight_decay": recipe.weight_decay,
        "warmup_epochs": recipe.warmup_epochs,
        "warmup_bias_lr": 0.0,
        "translate": recipe.translate,
        "scale": recipe.scale,
        "hsv_h": recipe.hue,
        "hsv_s": recipe.saturation,
        "hsv_v": recipe.value,
        "mosaic": 0.0,
        "close_mosaic": 0,
        "fliplr": 0.0,
        "erasing": 0.0,
        "amp": "bf16" if plan.bf16 and on_cuda else False,  # True would download a model for a test
        "workers": plan.num_workers,
        "device": str(plan.device.index or 0) if on_cuda else "cpu",
        "seed": plan.seed,
        "deterministic": plan.deterministic or not on_cuda,
        "plots": False,
        "save_dir": str(run.folder.resolve() / f"ultralytics{plan.ranks.rank}"),
        "exist_ok": True,
        "max_det": MAX_PILLS,
    }
    threads = torch.get_num_threads()
    trainer = PillTrainer(run, overrides)
    torch.set_num_threads(threads)  # Ultralytics leaves one core of a CPU idle
    return trainer


def _fit(run: Run) -> PillTrainer:
    """The trainer after its training."""
    plan, trainer = run.plan, _trainer(run)
    try:
        trainer.train()
    except Exception as error:
        if not devices.out_of_memory(error):
            raise
        tried = "also after halving it" if plan.ranks == ALONE else "of all processes"
        raise MachineError(
            f"Out of GPU memory with a batch of {plan.batch_size} frames, {tried}.",
            "Lower train.detection_batch_size or scales.<scale>.detection_px.",
        ) from None
    return trainer
