"""Checklist: how long the CPU trains, by steps measured here; the learning rate of a batch."""

import time
from pathlib import Path
from typing import Any

from pillsnap.operation.check_machine import on_gpu, training_frames
from pillsnap.operation.point import Point, passed, warned
from pillsnap.params import LR_BATCH_SIZE, Params
from pillsnap.stage.hardware import cpu_count

BATCH = 4  # pictures of a measured step
LARGEST_PX = 128  # of a measured picture: the work grows with the area


def check(params: Params, _root: Path) -> list[Point]:
    """Point `training time`: pixels of all epochs over the measured rate, against the goal.

    Nothing where a GPU trains: its first steps say nothing about the others.
    """
    if on_gpu(params):
        return []
    from pillsnap.classification import classifier  # torch, timm, ultralytics: seconds to import
    from pillsnap.detection import detector

    scale, epochs = params.at_scale, params.train.epochs
    crops = epochs * scale.samples * (1 - scale.val_share) * scale.repeats
    frames = epochs * training_frames(params)
    model = classifier.build(scale.classifier, scale.classes, None, params.seed)
    seconds = crops / pictures_per_s(model, scale.image_px)
    seconds += frames / pictures_per_s(detector.build(scale.detector), scale.detection_px)
    return [judge(seconds / 60, cpu_count(), params.targets.training_minutes)]


def learning_rate(params: Params, _root: Path) -> list[Point]:
    """Offers the learning rate for a batch size that the scale's own was not chosen for.

    Nothing for `auto`: the training logs the rate once the batch size is known.
    """
    size = params.batch_size
    if params.train.lr is not None or size == LR_BATCH_SIZE:
        return []
    value = f"{params.lr:.1e} is for batches of {LR_BATCH_SIZE}, train.batch_size is {size}"
    scaled = f"-S train.batch_size={size} -S train.lr={params.scaled_lr(size):.1e}"
    return [warned("learning rate", value, f"By the square root: dvc exp run {scaled}")]


def judge(minutes: float, cores: int, goal: float) -> Point:
    """The point for an estimate in minutes on one core; `goal` is targets.training_minutes.

    More cores are faster, but never by more than their number.
    """
    least = minutes / cores
    value = f"on the CPU at least {_shown(least)} with {cores} cores, {_shown(minutes)} with one"
    if least <= goal:
        return passed("training time", value)
    cure = "Train on a GPU, or less: pillsnap train --epochs 1"
    return warned("training time", f"{value}; the goal is {_shown(goal)}", cure)


def pictures_per_s(model: Any, image_px: int) -> float:
    """Square pictures a second that the model takes forward and backward on one core.

    One, because threads that wait for each other are slowed down by any other busy process.
    """
    import torch

    threads, px = torch.get_num_threads(), min(image_px, LARGEST_PX)
    model.train()
    torch.set_num_threads(1)
    try:
        _step(model, px)  # the first one also prepares the kernels
        begun_s = time.process_time()
        _step(model, px)
        return BATCH / (time.process_time() - begun_s) * px**2 / image_px**2
    finally:
        torch.set_num_threads(threads)


def _step(model: Any, px: int) -> None:
    import torch

    outputs = model(torch.zeros(BATCH, 3, px, px))
    sum(tensor.float().sum() for tensor in _tensors(outputs)).backward()


def _tensors(outputs: Any) -> list[Any]:
    """The tensors in a tensor, a list or a dictionary of them."""
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    if isinstance(outputs, list | tuple):
        return [tensor for part in outputs for tensor in _tensors(part)]
    return [outputs]


def _shown(minutes: float) -> str:
    return f"{minutes:,.0f} min" if minutes < 600 else f"{minutes / 60:,.0f} h"
