"""Checklist: the photos and the manifests."""

import os
import time
from pathlib import Path

from pillsnap.aihub import tree
from pillsnap.dataset import manifest, source
from pillsnap.errors import UserError
from pillsnap.formats import fingerprint, listing
from pillsnap.operation.point import Point, failed, gb, passed, warned
from pillsnap.params import Params

SAMPLE_PHOTOS = 24
SAMPLE_BYTES = 48 << 20
LARGEST_PHOTO_BYTES = 1 << 30
SAMPLE_S = 3.0
SLOW_MB_S = 20.0
LARGEST_SCAN = 300_000  # files; beyond, only build_manifest compares the fingerprint
ROWS_TOLERANCE = 0.02  # combination frames come whole, so samples are met only nearly


def data(params: Params, root: Path) -> list[Point]:
    """The data root can be read, how fast, and is the tree whose fingerprint is recorded."""
    try:
        data_root = root / params.data_root()
        form = params.data_format
        sample = tree.sample if form == fingerprint.AIHUB else listing.sample
        photos = sample(data_root, SAMPLE_PHOTOS)
        read, count_bytes, seconds = _read(data_root, photos)
    except UserError as error:
        return [failed("data root", error.fact, error.cure)]
    except OSError as error:
        value = f"{error.filename or data_root}: {error.strerror}"
        return [failed("data root", value, "ls -ld on that path")]
    if not photos:
        kind = "PNG of AI Hub's train or val part" if form == fingerprint.AIHUB else "picture"
        value = f"{data_root} holds no {kind} (data.format is {form})"
        cure = "Set PILLSNAP_DATA_ROOT to the folder that the photos are in, or data.format."
        return [failed("data root", value, cure)]
    mb_s = count_bytes / 1e6 / max(seconds, 1e-6)
    total = params.at_scale.samples * count_bytes / read
    value = f"{data_root}: {mb_s:.0f} MB/s (photos read: {read}); "
    value += f"reading {gb(total)} once takes about {max(1.0, total / 1e6 / mb_s):,.0f} s"
    slow = warned("data root", value, "Copy the tree to a local disk, if there is one.")
    speed = passed("data root", value) if mb_s >= SLOW_MB_S else slow
    return [speed, _fingerprint(params, root, data_root)]


def manifests(params: Params, root: Path) -> list[Point]:
    """The manifests and the class table, if they are there: columns, and counts as asked for."""
    folder = root / params.artifacts_dir
    paths = [folder / f"manifest_{split}.csv" for split in manifest.SPLITS]
    absent = [path.name for path in [*paths, folder / "classes.csv"] if not path.is_file()]
    if absent:
        return [passed("manifests", f"{', '.join(absent)} will be built")]
    try:
        train, val, test = (len(manifest.read(path)) for path in paths)
        classes = len(manifest.read_classes(folder / "classes.csv"))
    except UserError as error:
        return [failed("manifests", error.fact, error.cure)]
    wanted = params.at_scale
    value = f"train {train:,}, val {val:,}, test {test:,} pills, {classes:,} classes"
    near = abs(train + val - wanted.samples) <= ROWS_TOLERANCE * wanted.samples
    if near and classes == wanted.classes:
        return [passed("manifests", value)]
    value += f"; asked for are {wanted.samples:,} in train and val, {wanted.classes:,} classes"
    return [warned("manifests", value, "They will be built anew, and all that follows.")]


def _fingerprint(params: Params, root: Path, data_root: Path) -> Point:
    name, path = "fingerprint", root / fingerprint.path_of(params.scale)
    try:
        recorded = fingerprint.read(path)
        if recorded is None:
            cure = "pillsnap fingerprint (pillsnap train takes it by itself)"
            return warned(name, f"{path.relative_to(root)} is unset", cure)
        value = f"{recorded.count:,} files, {gb(recorded.bytes)}"
        if recorded.count > LARGEST_SCAN:
            return passed(name, f"{value}; build_manifest compares it")
        fingerprint.check(
            fingerprint.take(data_root, params.data_format), recorded, path, data_root
        )
    except UserError as error:
        return failed(name, error.fact, error.cure)
    return passed(name, f"{value}: matches")


def _read(data_root: Path, photos: list[str]) -> tuple[int, int, float]:
    """Photos read, their bytes, seconds taken; asks the kernel to forget its copies first."""
    sizes: list[int] = []
    begun_s = time.monotonic()
    for photo in photos:
        path = data_root / photo
        with open(source.on_disk(path), "rb", buffering=0) as file:  # noqa: PTH123
            if hasattr(os, "posix_fadvise"):  # not on macOS
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        sizes.append(len(source.read(path, LARGEST_PHOTO_BYTES)))
        if sum(sizes) > SAMPLE_BYTES or time.monotonic() - begun_s > SAMPLE_S:
            break
    return len(sizes), sum(sizes), time.monotonic() - begun_s
