"""Checklist: disk, memory and processors against what this scale needs, by measured sizes."""

import os
import shutil
from math import ceil
from pathlib import Path

from pillsnap.operation.point import Point, failed, gb, passed, warned
from pillsnap.params import Params, ScaleParams
from pillsnap.stage.hardware import cpu_count, memory_bytes

LEAST_FREE_BYTES = 10e9
JPEG_BYTES_PER_PX = 0.25  # quality 95, 4:4:4: 16 kB for 256 x 256 px
FRAME_SHAPE = 976 / 1280  # shorter side by longer side of a photo
FRAME_PX = 1280  # longer side of a photo
PILLS_PER_COMBINATION = 3.5
CHECKPOINT_BYTES = 2e9  # weights, averaged weights, optimizer, twice, of both models
SMALL_CHECKPOINT_BYTES = 0.2e9  # of models trained from scratch: the demo's
TRAINER_BYTES = 2.5e9
WORKER_BYTES = 0.6e9
CROP_BATCHES = 4  # ready or in the making, of each loader process of the classifier
FRAME_BATCHES = 2  # of the detector


def disk(params: Params, root: Path) -> list[Point]:
    """Free disk against 10 GB and against what this scale will still write."""
    needed = crops_bytes(params, root)
    needed += CHECKPOINT_BYTES if params.at_scale.classifier_weights else SMALL_CHECKPOINT_BYTES
    free, least = shutil.disk_usage(root).free, max(LEAST_FREE_BYTES, needed)
    value = f"{gb(free)} free; crops, frames, checkpoints and their cached copies: {gb(needed)}"
    if free > least:
        return [passed("disk", value)]
    cure = "dvc gc --workspace drops all versions but the workspace's; or move the repository."
    return [failed("disk", f"{value}; at least {gb(least)} must be free", cure)]


def crops_bytes(params: Params, root: Path) -> float:
    """Bytes of crops and frames still to be written, with DVC's cached copy where it is one."""
    scale = params.at_scale
    if (root / params.data_dir / "crops" / "train.arrow").exists():
        return 0.0
    rows = scale.samples + scale.test_unknown_pills
    crop = scale.crop_px**2 * JPEG_BYTES_PER_PX
    frame = scale.frame_px**2 * FRAME_SHAPE * JPEG_BYTES_PER_PX
    photo = FRAME_PX**2 * FRAME_SHAPE * JPEG_BYTES_PER_PX
    once = rows * crop + (_combinations(scale) + scale.detection_single_frames) * frame
    once += 4 * scale.evaluation_frames * photo  # single and combination, val and test
    return 3 * once  # in data/, in DVC's cache, and in the store that spares a second decoding


def memory(params: Params, _root: Path) -> list[Point]:
    """Free RAM, and shared memory for the loaders' batches."""
    workers = _workers(params)
    total, free = memory_bytes()
    needed = TRAINER_BYTES + workers * WORKER_BYTES
    value = f"{gb(free)} of {gb(total)} free; trainer, {workers} loaders need about {gb(needed)}"
    cure = "Close other programs, or use fewer loaders: dvc exp run -S train.num_workers=1"
    less = (failed if free < TRAINER_BYTES else warned)("memory", value, cure)
    points = [passed("memory", value) if free >= needed else less]
    shm = Path("/dev/shm")
    if shm.is_dir():
        free = shutil.disk_usage(shm).free
        points.append(shared_memory(params, workers, free, on_gpu(params)))
    return points


def shared_memory(params: Params, workers: int, free: int, on_gpu: bool) -> Point:
    """Whether the batches that loader processes keep ready fit into `free` bytes."""
    needed = crop_batches_bytes(params, workers)
    if on_gpu:  # on a CPU Ultralytics loads in the trainer itself
        needed = max(needed, frame_batches_bytes(params, workers))
    value = f"{gb(free)} free in /dev/shm; batches kept ready: {gb(needed)}"
    if free >= needed:
        return passed("shared memory", value)
    cure = "In a container: --shm-size=8g. Or, without loaders: dvc exp run -S train.num_workers=0"
    return failed("shared memory", value, cure)


def crop_batches_bytes(params: Params, workers: int) -> float:
    """Shared memory of the classifier's loaders: of training or of validation, which has half the
    processes and batches twice as large. One batch more than is kept ready is in use."""
    if not workers:
        return 0.0
    scale, size = params.at_scale, params.batch_size
    val = scale.samples * scale.val_share
    batches = max(ceil(training_crops(params) / size), 2 * ceil(val / (2 * size)))
    ready = CROP_BATCHES * max(workers, 2) + 2  # in validation; one less in training
    return min(batches, ready) * size * scale.image_px**2 * 3


def photos(params: Params) -> float:
    """Photos that validate reads, those of combinations in test aside."""
    scale = params.at_scale
    singles = scale.samples * (1 - scale.combination_share)
    return singles + _combinations(scale) + scale.test_unknown_pills


def training_crops(params: Params) -> float:
    """Crops in an epoch of the classifier."""
    scale = params.at_scale
    return scale.samples * (1 - scale.val_share) * scale.repeats


def training_frames(params: Params) -> float:
    """Frames in an epoch of the detector."""
    scale = params.at_scale
    return _combinations(scale) * (1 - scale.val_share) + scale.detection_single_frames


def frame_batches_bytes(params: Params, workers: int) -> float:
    """Shared memory of the detector's loaders. Ultralytics' one for validation fills itself while
    the other trains, with twice the processes (the cores at most) and batches twice as large."""
    if not workers:
        return 0.0
    scale, size = params.at_scale, params.train.detection_batch_size
    frames = training_frames(params)
    batches = min(FRAME_BATCHES * workers + 1, ceil(frames / size))
    steps = ceil(frames * scale.val_share / (1 - scale.val_share) / (2 * size))
    if steps > 1:  # one batch is made in the trainer itself
        batches += 2 * FRAME_BATCHES * min(2 * workers, os.cpu_count() or 1, steps)
    return batches * size * scale.detection_px**2 * 3


def processors(params: Params, _root: Path) -> list[Point]:
    """Cores this process may use against the loader processes."""
    cores, workers = cpu_count(), _workers(params)
    value = f"cores: {cores}, loader processes: {workers}"
    if workers <= cores:
        return [passed("processors", value)]
    return [warned("processors", value, f"dvc exp run -S train.num_workers={max(0, cores - 1)}")]


def _workers(params: Params) -> int:
    from pillsnap.training import devices  # brings torch: not before it is needed

    return devices.loader_workers(params.train.num_workers, on_gpu(params))


def on_gpu(params: Params) -> bool:
    """Whether a GPU trains."""
    import torch  # seconds to import: not before it is needed

    device = params.train.device
    return torch.cuda.is_available() if device == "auto" else device.startswith("cuda")


def _combinations(scale: ScaleParams) -> float:
    return scale.samples * scale.combination_share / PILLS_PER_COMBINATION
