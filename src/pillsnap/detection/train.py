"""The detector's training: Ultralytics' arguments, start, failures explained."""

# isort: off
import pillsnap.detection.settings  # noqa: F401  first: sets Ultralytics' switches
# isort: on

import os
from pathlib import Path
from typing import Any

import torch
from ultralytics.nn.tasks import load_checkpoint
from ultralytics.utils import SETTINGS
from ultralytics.utils.downloads import attempt_download_asset

from pillsnap import files
from pillsnap.boxes import MAX_PILLS
from pillsnap.detection.plan import Plan, Trained
from pillsnap.detection.trainer import PillTrainer, Run
from pillsnap.errors import CheckpointError, MachineError
from pillsnap.stage.log import RunLog
from pillsnap.stage.signals import deferred
from pillsnap.training.checkpoints import WorkFolder
from pillsnap.training.ranks import ALONE
from pillsnap.training.record import Recorder


def train(plan: Plan, data_dir: Path, folder: WorkFolder, live_dir: Path, log: RunLog) -> Trained:
    """Train on `data_dir` (a YOLO data set), keep the average of the epoch best on its val.

    Goes on from the folder's checkpoint when there is one. With several ranks all call it; only
    the one that speaks uses `folder`'s files, `live_dir` and `log`.
    """
    saved = _saved(plan, folder, log)
    resumes = 0 if saved is None else saved["resumes"] + 1
    history = [] if saved is None else saved["history"]
    recorder = Recorder(live_dir, log, plan.epochs, history) if plan.ranks.speaks else None
    if saved is not None:
        log.info(f"resuming after epoch {saved['epoch']}")
    log.start(plan.epochs, len(history), plan.goals)
    best = saved["best"] if saved is not None else {}
    batch_size = saved["batch_size"] if saved is not None else plan.batch_size
    if len(history) < plan.epochs:
        with deferred() as interrupt:
            run = Run(plan, data_dir.resolve(), folder, recorder, log, interrupt, saved, resumes)
            trainer = _trainer(run)
            _fit(trainer, plan)
            best = trainer.kept
            batch_size = trainer.batch_size  # smaller than asked for where memory was short
    if recorder is not None:
        recorder.finish(resumed=resumes, best_epoch=best["epoch"], batch_size=batch_size)
    return Trained(best["weights"], best["metrics"], best["epoch"])


def _saved(plan: Plan, folder: WorkFolder, log: RunLog) -> dict[str, Any] | None:
    """The unfinished state of the rank that speaks, in every rank."""
    saved, damaged = folder.load() if plan.ranks.speaks else (None, [])
    for line in damaged:
        log.warning(line)
    state: dict[str, Any] | None = plan.ranks.same({"saved": saved})["saved"]
    return state


def pretrained_path(architecture: str, weights: str | None) -> str | None:
    """The .pt to start from; "hub" fetches Ultralytics' own, a path is taken as it is."""
    cure = (
        "Fetch it where there is a network and set scales.<scale>.detector_weights to its path; "
        "null trains from scratch."
    )
    if weights is None:
        return None
    if weights != "hub":
        path = files.located(weights, CheckpointError)
        if not path.is_file():
            raise CheckpointError(f"Weights {path} are not here.", cure)
        return str(path)
    os.environ.pop("YOLO_OFFLINE", None)  # asked for: the one moment a network is wanted
    target = Path(os.environ["YOLO_CONFIG_DIR"]) / f"{architecture}.pt"
    try:
        return str(attempt_download_asset(target, retry=0))
    except Exception as error:
        reason = str(error).splitlines()[0][:160]
        raise MachineError(f"{architecture}.pt could not be fetched: {reason}", cure) from None
    finally:
        os.environ["YOLO_OFFLINE"] = "true"


def _readable(path: str | None) -> str | None:
    """The same path; refused before the training starts when no YOLO can be read from it."""
    try:
        if path is not None:
            load_checkpoint(path)
    except Exception as error:  # damaged, hostile and foreign files fail in many ways
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise CheckpointError(
            f"{path} is not an Ultralytics checkpoint that loads without running code: {reason}",
            "Delete it where it was fetched, else give another: scales.<scale>.detector_weights.",
        ) from None
    return path


def _start_weights(plan: Plan) -> str | None:
    """Fetched by the rank that speaks, read by all."""
    if plan.ranks.speaks:
        pretrained_path(plan.architecture, plan.weights)
    plan.ranks.total(0)
    return _readable(pretrained_path(plan.architecture, plan.weights))


def _trainer(run: Run) -> "PillTrainer":
    plan, recipe = run.plan, run.plan.recipe
    on_cuda = plan.device.type == "cuda"
    if switches := {key: False for key, value in SETTINGS.items() if value is True}:
        SETTINGS.update(switches)
    overrides = {
        "model": f"{plan.architecture}.yaml",
        "pretrained": _start_weights(plan) or False,
        "data": str(run.data_dir / "dataset.yaml"),
        "imgsz": plan.image_px,
        "epochs": plan.epochs,
        "patience": plan.epochs,
        "batch": plan.batch_size,
        "nbs": plan.batch_size,  # one optimizer step per batch: 64 starves short trainings
        "optimizer": "AdamW",  # named, because "auto" ignores lr0
        "lr0": plan.lr,
        "lrf": 0.01,
        "cos_lr": True,
        "momentum": 0.9,
        "weight_decay": recipe.weight_decay,
        "warmup_epochs": recipe.warmup_epochs,
        "warmup_bias_lr": 0.0,
        "translate": recipe.translate,
        "scale": recipe.scale,
        "degrees": recipe.degrees,
        "hsv_h": recipe.hue,
        "hsv_s": recipe.saturation,
        "hsv_v": recipe.value,
        "mosaic": recipe.mosaic,
        "close_mosaic": 0,
        "fliplr": 0.0,
        "flipud": 0.0,
        "erasing": 0.0,
        "amp": "bf16" if plan.bf16 and on_cuda else False,  # True would fetch a model to test with
        "compile": plan.compile,
        "workers": plan.num_workers,
        "device": str(plan.device.index or 0) if on_cuda else "cpu",
        "seed": plan.seed,
        "single_cls": False,
        "plots": False,
        "save": True,
        "save_dir": str(run.folder.path.resolve() / f"ultralytics{plan.ranks.rank}"),
        "exist_ok": True,
        "max_det": MAX_PILLS,
    }
    threads = torch.get_num_threads()
    trainer = PillTrainer(run, overrides)
    torch.set_num_threads(threads)  # Ultralytics leaves a core idle on a CPU
    return trainer


def _fit(trainer: "PillTrainer", plan: Plan) -> None:
    try:
        trainer.train()
    except RuntimeError as error:
        text = str(error)
        if "out of memory" in text.lower():
            tried = "also after halving" if plan.ranks == ALONE else "shared out"
            raise MachineError(
                f"Out of GPU memory with a batch of {plan.batch_size} frames, {tried}.",
                "Lower train.detection_batch_size or scales.<scale>.detection_px.",
            ) from None
        if "NaN" in text:
            raise MachineError(
                f"The detector's loss is not a number: {text}",
                f"Lower train_detection.lr (is {plan.lr}), or set train.mixed_precision=off.",
            ) from None
        raise
