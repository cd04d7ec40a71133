"""Checklist: weights both models start from, their time on a CPU, the learning rate."""

import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pillsnap.errors import UserError
from pillsnap.operation.check_machine import on_gpu, training_crops, training_frames
from pillsnap.operation.point import Point, duration, failed, passed, warned
from pillsnap.params import LR_BATCH_SIZE, Params
from pillsnap.stage.hardware import cpu_count

NETWORK_S = 4.0
BATCH = 4  # pictures that are measured
LARGEST_PX = 128  # of a measured picture: the work grows with the area
STEP = 3  # a training step takes about three times as long as its forward pass


def weights(params: Params, root: Path) -> list[Point]:
    """Whether both can be loaded; nothing is downloaded."""
    return [_classifier(params), _detector(params, root)]


def training_time(params: Params, _root: Path) -> list[Point]:
    """Pictures of all epochs over the measured rate, against the goal; nothing on a GPU, whose
    first steps are not like the others."""
    if on_gpu(params):
        return []
    from pillsnap.classification import classifier  # torch, timm, ultralytics: seconds to import
    from pillsnap.detection import detector

    scale = params.at_scale
    model = classifier.build(scale.classifier, scale.classes, None, params.seed)
    seconds = training_crops(params) / pictures_per_s(model, scale.image_px)
    model = detector.build(scale.detector)
    seconds += training_frames(params) / pictures_per_s(model, scale.detection_px)
    minutes = params.train.epochs * seconds / 60
    return [judge(minutes, cpu_count(), params.targets.training_minutes)]


def learning_rate(params: Params, _root: Path) -> list[Point]:
    """Offers the rate for a batch size that the scale's own was not chosen for; not for `auto`,
    where the training logs it."""
    size = params.batch_size
    if params.train.lr is not None or size == LR_BATCH_SIZE:
        return []
    value = f"{params.lr:.1e} is for batches of {LR_BATCH_SIZE}, train.batch_size is {size}"
    scaled = f"-S train.batch_size={size} -S train.lr={params.scaled_lr(size):.1e}"
    return [warned("learning rate", value, f"By the square root: dvc exp run {scaled}")]


def judge(minutes: float, cores: int, goal: float) -> Point:
    """The point for minutes on one core; more cores are faster by their number at most."""
    least = minutes / cores
    value = f"on the CPU at least {duration(least)} with {cores} cores, "
    value += f"{duration(minutes)} with one"
    if least <= goal:
        return passed("training time", value)
    cure = "Train on a GPU, or less: pillsnap train --epochs 1"
    return warned("training time", f"{value}; the goal is {duration(goal)}", cure)


def pictures_per_s(model: Any, image_px: int) -> float:
    """Square pictures a second that one core trains the model on: threads that wait for each other
    are slowed down by any other busy process."""
    import torch

    threads, px = torch.get_num_threads(), min(image_px, LARGEST_PX)
    pictures = torch.zeros(BATCH, 3, px, px)
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            model.train()(pictures)  # the first pass also prepares the kernels
            begun_s = time.process_time()
            model(pictures)
        step_s = STEP * (time.process_time() - begun_s)
    finally:
        torch.set_num_threads(threads)
    return BATCH / step_s * px**2 / image_px**2


def _classifier(params: Params) -> Point:
    from huggingface_hub import try_to_load_from_cache  # brings its HTTP client

    from pillsnap.classification import classifier  # torch and timm: seconds to import

    name, scale = "classifier weights", params.at_scale
    wanted, offline = scale.classifier_weights, os.environ.get("HF_HUB_OFFLINE") == "1"
    files = ("model.safetensors", "pytorch_model.bin")
    found = (try_to_load_from_cache(f"timm/{scale.classifier}", file) for file in files)
    absent = wanted == "hub" and not any(isinstance(path, str) for path in found)
    used = None if absent else wanted  # the model's name is judged all the same
    model = (scale.classifier, scale.classes, used, params.seed, scale.drop_path)
    point = _loaded(name, partial(classifier.build, *model), wanted)
    if not absent or point.status == "fail":
        return point
    key = f"scales.{params.scale}.classifier_weights"
    return _downloadable(name, key, "https://huggingface.co", offline)


def _detector(params: Params, root: Path) -> Point:
    name, scale = "detector weights", params.at_scale
    kept = root / ".checkpoints" / f"{scale.detector}.pt"
    if scale.detector_weights is None:
        return passed(name, "from scratch")
    if scale.detector_weights == "hub" and not kept.is_file():
        key = f"scales.{params.scale}.detector_weights"
        return _downloadable(name, key, "https://github.com", offline=False)
    from pillsnap.detection import train  # torch and ultralytics: seconds to import

    wanted = str(kept) if scale.detector_weights == "hub" else scale.detector_weights
    load = partial(train.start_weights, scale.detector, wanted)
    return _loaded(name, load, scale.detector_weights)


def _loaded(name: str, load: Callable[[], object], wanted: str | None) -> Point:
    try:
        load()
    except UserError as error:
        return failed(name, error.fact, error.cure)
    words = {None: "from scratch", "hub": "downloaded before, and read"}
    return passed(name, words.get(wanted) or f"{wanted}, read")


def _downloadable(name: str, key: str, hub: str, offline: bool) -> Point:
    """The point for weights that are not on disk: whether the hub answers."""
    cure = f"Set {key} to a file of weights, or to null: from scratch."
    if offline:
        return failed(name, "not downloaded yet, and HF_HUB_OFFLINE is 1", cure)
    try:
        urllib.request.urlopen(hub, timeout=NETWORK_S).close()
    except urllib.error.HTTPError as answer:
        answer.close()
    except OSError:
        return failed(name, f"not downloaded yet, and {hub} does not answer", cure)
    return passed(name, f"not downloaded yet; {hub} answers")
