"""Checklist: disk, memory and processors against what this scale needs.

Needs are estimates from measured sizes; each point shows both figures.
"""

import shutil
from pathlib import Path

import psutil

from pillsnap import manifest
from pillsnap.hardware import cpu_count
from pillsnap.params import Params, ScaleParams
from pillsnap.point import Point, failed, gb, passed, warned

LEAST_FREE_BYTES = 10e9
JPEG_BYTES_PER_PX = 0.25  # quality 95, 4:4:4: 16 kB for 256 x 256 px
FRAME_SHAPE = 976 / 1280  # shorter side by longer side of a photo
FRAME_PX = 1280  # longer side of a photo
PILLS_PER_COMBINATION = 3.5
CHECKPOINT_BYTES = 2e9  # weights, averaged weights, optimizer, twice, of both models
SMALL_CHECKPOINT_BYTES = 0.2e9  # of models trained from scratch: the demo's
TRAINER_BYTES = 2.5e9
WORKER_BYTES = 0.6e9
PREFETCHED_BATCHES = 4  # of each loader process


def disk(params: Params, root: Path) -> list[Point]:
    """Free disk against 10 GB and against what this scale will still write."""
    needed = crops_bytes(params, root) + _checkpoint_bytes(params.at_scale)
    free = shutil.disk_usage(root).free
    least = max(LEAST_FREE_BYTES, needed)
    value = f"{gb(free)} free; crops, frames, checkpoints and their cached copies: {gb(needed)}"
    if free > least:
        return [passed("disk", value)]
    return [
        failed(
            "disk",
            f"{value}; at least {gb(least)} must be free",
            "dvc gc --workspace drops what nothing refers to; or move the repository.",
        )
    ]


def crops_bytes(params: Params, root: Path) -> float:
    """Bytes of crops and frames still to be written, with DVC's cached copy where it is one.

    Rows come from the manifests once they are there, else from the scale's numbers.
    """
    scale = params.at_scale
    if (root / params.data_dir / "crops" / "train.arrow").exists():
        return 0.0
    rows = _rows(root / params.artifacts_dir)
    if rows is None:
        rows = scale.samples + scale.test_unknown_pills
    combinations = scale.samples * scale.combination_share / PILLS_PER_COMBINATION
    crop = scale.crop_px**2 * JPEG_BYTES_PER_PX
    frame = scale.frame_px**2 * FRAME_SHAPE * JPEG_BYTES_PER_PX
    photo = FRAME_PX**2 * FRAME_SHAPE * JPEG_BYTES_PER_PX
    once = rows * crop + (combinations + scale.detection_single_frames) * frame
    once += 4 * scale.evaluation_frames * photo  # single and combination, val and test
    return 3 * once  # in data/, in DVC's cache, and in the store that spares a second decoding


def memory(params: Params, _root: Path) -> list[Point]:
    """Free RAM, and shared memory for the loaders' batches."""
    workers = _workers(params)
    free = psutil.virtual_memory().available
    needed = TRAINER_BYTES + workers * WORKER_BYTES
    value = f"{gb(free)} of {gb(psutil.virtual_memory().total)} free; {workers} loader processes "
    value += f"and a trainer: about {gb(needed)}"
    if free >= needed:
        ram = passed("memory", value)
    else:
        judge = failed if free < TRAINER_BYTES else warned
        ram = judge(
            "memory",
            value,
            "Close other programs, or fewer loaders: dvc exp run -S train.num_workers=1",
        )
    shm = Path("/dev/shm")
    return [
        ram,
        *([shared_memory(params, workers, shutil.disk_usage(shm).free)] if shm.is_dir() else []),
    ]


def shared_memory(params: Params, workers: int, free: int) -> Point:
    """Whether the batches that loader processes keep ready fit into `free` bytes."""
    crops = params.train.batch_size * params.at_scale.image_px**2 * 3
    frames = params.train.detection_batch_size * params.at_scale.detection_px**2 * 3
    needed = workers * PREFETCHED_BATCHES * max(crops, frames)
    value = f"{gb(free)} free in /dev/shm; batches kept ready: {gb(needed)}"
    if free >= needed:
        return passed("shared memory", value)
    return failed(
        "shared memory",
        value,
        "In a container: --shm-size=8g. "
        "Or load in the trainer itself: dvc exp run -S train.num_workers=0",
    )


def processors(params: Params, _root: Path) -> list[Point]:
    """Cores this process may use against the loader processes."""
    cores, workers = cpu_count(), _workers(params)
    value = f"{cores} cores, {workers} loader processes"
    if workers <= cores:
        return [passed("processors", value)]
    return [warned("processors", value, f"dvc exp run -S train.num_workers={max(0, cores - 1)}")]


def _workers(params: Params) -> int:
    from pillsnap import devices  # brings torch: not before it is needed

    return devices.loader_workers(params.train.num_workers)


def _checkpoint_bytes(scale: ScaleParams) -> float:
    return CHECKPOINT_BYTES if scale.classifier_weights else SMALL_CHECKPOINT_BYTES


def _rows(artifacts_dir: Path) -> int | None:
    """Rows of the three manifests by their line ends; None unless all are there."""
    paths = [artifacts_dir / f"manifest_{split}.csv" for split in manifest.SPLITS]
    if not all(path.is_file() for path in paths):
        return None
    return sum(path.read_bytes().count(b"\n") - 1 for path in paths)
