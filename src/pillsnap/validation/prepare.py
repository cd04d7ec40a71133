"""Reads each photo once: decode, check, cut crops, scale down; in parallel, resumable."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import simplejpeg
import xxhash

from pillsnap.arrays import Pixels
from pillsnap.dataset import pixels, source
from pillsnap.errors import DataError, MachineError
from pillsnap.stage.engines import Engine
from pillsnap.validation import photos
from pillsnap.validation.photos import FrameError
from pillsnap.validation.work_store import TABLES, Box, Kind, Prepared, PreparedPicture, WorkStore

if TYPE_CHECKING:  # the workers do without pydantic
    from pillsnap.params import Params

# Raise it when the pictures or hashes made of a photo change: all photos are then decoded again.
# tests/validation/test_prepare.py has the hash that belongs to it.
PICTURES_VERSION = 1

CHUNK_FRAMES = 8  # photos per task of a local worker: about 0.1 s
FAR_CHUNK_FRAMES = 256  # over a network, where a task costs more
FEW_FRAMES = 128  # below this, one process is faster than starting several
EXAMPLE_PX, EXAMPLE_QUALITY = 320, 80  # longest side of a thumbnail in the report, of its JPEG
KILLED = "Lower validate.num_workers, or free memory, then run dvc repro: it resumes."

OnProgress = Callable[[int, int], None]  # frames done, frames in all
Keyed = tuple[list["FrameTask"], list["Rejected"]]  # photos with their keys, and missing ones


@dataclass(frozen=True)
class Recipe:
    """What the pictures depend on besides the photo; each recipe has its own work store."""

    crop_px: int
    crop_margin: float
    frame_px: int
    jpeg_quality: int
    max_pixels: int
    any_kind: bool = field(default=False, repr=False)  # of picture, else PNG: no other pixels

    @classmethod
    def of(cls, params: "Params") -> "Recipe":
        """That of params.yaml."""
        scale, options = params.at_scale, params.validate_
        return cls(
            scale.crop_px,
            options.crop_margin,
            scale.frame_px,
            options.jpeg_quality,
            options.max_pixels,
            params.data_format != "aihub",
        )

    @property
    def pictures_version(self) -> str:
        """Hash over the settings, the store's tables, the pictures' and the codecs' versions."""
        versions = [str(PICTURES_VERSION), cv2.__version__, simplejpeg.__version__]
        parts = [repr(self), TABLES, *versions]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class FrameTask:
    """A photo to prepare: path, labels, pictures to make."""

    image_path: str  # as in the manifest
    path: Path  # absolute where another host reads it
    boxes: tuple[Box, ...]  # x y w h in pixels, one per admitted row
    size: tuple[int, int]  # width, height according to its labels
    kinds: frozenset[Kind]
    marks: tuple[Box, ...] = ()  # rejected boxes, drawn red in the report's thumbnail
    key: str = ""


@dataclass(frozen=True)
class Rejected:
    """A rejected photo: the name of the check, and the fact."""

    image_path: str
    reason: str
    fact: str


@dataclass(frozen=True)
class Preparation:
    """The outcome of a run."""

    keys: dict[str, str]  # of the valid photos, by path
    rejected: tuple[Rejected, ...]
    decoded: int  # photos decoded in this run

    def __str__(self) -> str:
        count = len(self.keys) + len(self.rejected)
        return f"{count} photos, {self.decoded} of them read in this run"


def prepare(
    photos: Keyed,
    root: Path,
    recipe: Recipe,
    store: WorkStore,
    engine: Engine,
    on_progress: OnProgress,
) -> Preparation:
    """Prepare every photo not yet in the store; memory does not grow with their number.

    Rejected photos are not stored: they are read again in the next run.
    """
    tasks, rejected = photos
    known = store.kinds()
    pending = [
        replace(task, kinds=task.kinds | known.get(task.key, frozenset()))
        for task in tasks
        if not task.kinds <= known.get(task.key, frozenset())
    ]
    every = len(tasks) + len(rejected)
    done = every - len(pending)
    on_progress(done, every)
    engine = Engine(processes=1) if len(pending) < FEW_FRAMES else engine
    size = CHUNK_FRAMES if engine.is_local else FAR_CHUNK_FRAMES
    chunks = [pending[i : i + size] for i in range(0, len(pending), size)]
    job = partial(_prepare_chunk, recipe, recipe.pictures_version)
    with engine.workers(root, __name__, KILLED) as spread:
        for outcomes in spread(job, chunks):
            store.add(outcome for outcome in outcomes if isinstance(outcome, Prepared))
            rejected += [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
            done += len(outcomes)
            on_progress(done, every)
    if not root.is_dir():  # else every photo since then would count as missing
        raise DataError(
            f"The data root {root} is not a folder any more.",
            "Mount it again, then dvc repro: the photos read so far are kept.",
        )
    bad = {photo.image_path for photo in rejected}
    keys = {task.image_path: task.key for task in tasks if task.image_path not in bad}
    rejected.sort(key=lambda photo: photo.image_path)
    return Preparation(keys, tuple(rejected), len(pending))


def with_keys(tasks: Sequence[FrameTask]) -> Keyed:
    """The tasks with their keys; the photos without size and time are missing or unreadable."""
    keyed: list[FrameTask] = []
    rejected: list[Rejected] = []
    found = source.statuses([task.path for task in tasks])
    for task, status in zip(tasks, found, strict=True):
        if isinstance(status, OSError):
            missing = isinstance(status, FileNotFoundError)
            reason = "photo_missing" if missing else "photo_unreadable"
            rejected.append(Rejected(task.image_path, reason, f"{status.strerror}."))
        else:
            identity = (task.image_path, *status, task.boxes, task.size, task.marks)
            key = xxhash.xxh3_128_hexdigest(repr(identity).encode())
            keyed.append(replace(task, key=key))
    return keyed, rejected


def prepare_frame(task: FrameTask, recipe: Recipe) -> Prepared | Rejected:
    """Decode one photo and make its pictures, or reject it."""
    try:
        photo, of_bytes = photos.read_frame(task.path, recipe.max_pixels, any_kind=recipe.any_kind)
    except FrameError as error:
        return Rejected(task.image_path, error.reason, error.fact)
    height, width = photo.shape[:2]
    if (width, height) != task.size:
        fact = f"{width} x {height} px, according to its label {task.size[0]} x {task.size[1]}."
        return Rejected(task.image_path, "size_differs", fact)
    pictures = tuple(_pictures(photo, task, recipe))
    return Prepared(task.key, of_bytes, pixels.pixel_hash(photo), pictures)


def _pictures(photo: Pixels, task: FrameTask, recipe: Recipe) -> Iterator[PreparedPicture]:
    quality = recipe.jpeg_quality
    for box in task.boxes:
        crop = pixels.cut(photo, box, recipe.crop_px, recipe.crop_margin)
        bits = pixels.perceptual_hash(crop)
        yield PreparedPicture(Kind.CROP, pixels.encode(crop, quality), bits)
    if Kind.DETECTION in task.kinds:
        small = pixels.scale_down(photo, recipe.frame_px)
        yield PreparedPicture(Kind.DETECTION, pixels.encode(small, quality))
    if Kind.FRAME in task.kinds:
        yield PreparedPicture(Kind.FRAME, pixels.encode(photo, quality))
    if Kind.EXAMPLE in task.kinds:
        yield PreparedPicture(Kind.EXAMPLE, pixels.encode(_example(photo, task), EXAMPLE_QUALITY))


def _example(photo: Pixels, task: FrameTask) -> Pixels:
    """A thumbnail with the boxes drawn in: admitted ones blue, rejected ones red."""
    small = pixels.scale_down(photo, EXAMPLE_PX).copy()
    factor = small.shape[1] / photo.shape[1]
    blue, red = (40, 90, 220), (220, 40, 40)
    for boxes, colour in ((task.boxes, blue), (task.marks, red)):
        for x, y, width, height in boxes:
            left, top, right, bottom = (round(v * factor) for v in (x, y, x + width, y + height))
            cv2.rectangle(small, (left, top), (right, bottom), colour, 2)
    return small


def _prepare_chunk(
    recipe: Recipe, version: str, chunk: Sequence[FrameTask]
) -> list[Prepared | Rejected]:
    if recipe.pictures_version != version:
        raise MachineError(
            "A worker of validate.engine has another version of pillsnap, OpenCV or simplejpeg.",
            "Install this revision and its requirements.txt on its host, restart the worker, then "
            "run dvc repro: it resumes.",
        )
    cv2.setNumThreads(1)  # the processes share the cores out
    return [prepare_frame(task, recipe) for task in chunk]
