"""Draws a synthetic AI Hub tree in several processes; atomically, once per parameters and seed."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from pillsnap import files
from pillsnap.demo.label_files import label_bytes
from pillsnap.demo.photos import draw_frame, lay_out
from pillsnap.demo.plan import PlannedFolder, named_rng, plan_tree
from pillsnap.demo.progress import OnProgress
from pillsnap.errors import DataError, MachineError
from pillsnap.params import DemoParams
from pillsnap.stage.pool import workers

PARTS = ("train", "val")
STAMP, LOCK, UNFINISHED = "demo.json", ".drawing.lock", ".drawing"
BYTES_PER_VALUE = 0.4  # of a PNG, at most; to check the free disk space
KILLED = "Free memory, or draw in one process (taskset -c 0 ...), then repeat the same command."
MAC_JUNK = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(96)
PNG_SETTINGS = (  # half the time and fewer bytes than cv2's default
    cv2.IMWRITE_PNG_COMPRESSION, 1,
    cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY,
    cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG,
)  # fmt: skip


def draw_tree(
    root: Path, demo: DemoParams, seed: int, num_workers: int, on_progress: OnProgress
) -> None:
    """Draw `root`/train and `root`/val unless they exist for these parameters and seed.

    Calls `on_progress` with the photos drawn and their total. The bytes depend on nothing else.
    DataError for a tree that was not drawn here; ParameterError, MachineError.
    """
    root.mkdir(parents=True, exist_ok=True)
    wanted = {"spec": demo.model_dump(), "seed": seed, "drawing": _drawing_version()}
    with (root / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second process waits here and finds the tree drawn
        if _is_drawn(root, wanted):
            return
        for part in PARTS:
            if (root / part).exists() and not (root / STAMP).exists():
                fact = f"{root / part} was not drawn by the demo: {root / STAMP} is missing."
                raise DataError(fact, "Choose another folder for the demo, or move this one.")
        folders = plan_tree(demo, seed)
        _refuse_full_disk(root, folders, demo)
        files.write_json(root / STAMP, {**wanted, "files": None})
        unfinished = root / UNFINISHED
        files.remove_folder(unfinished)
        _draw_folders(unfinished, folders, demo, seed, num_workers, on_progress)
        os.sync()  # the photos are on the disk before the stamp is
        for part in PARTS:
            files.remove_folder(root / part)
            (unfinished / part).rename(root / part)
        unfinished.rmdir()
        files.write_json(root / STAMP, {**wanted, "files": _count_files(root)})


def draw_folder(root: Path, folder: PlannedFolder, demo: DemoParams, seed: int) -> int:
    """Draw the photos, labels and contact sheet of one folder; return the number of photos."""
    cv2.setNumThreads(1)  # the processes share the cores out
    image_dir = root / folder.folder("images")
    image_dir.mkdir(parents=True, exist_ok=True)
    label_dirs = [root / folder.label_dir(pill) for pill in folder.pills]
    for label_dir in label_dirs:
        label_dir.mkdir(parents=True, exist_ok=True)
    thumbs = []
    for view in folder.views:
        stem = folder.stem(view)
        rng = named_rng(seed, stem)
        table = named_rng(seed, folder.name) if folder.is_combination else rng
        photo, boxes = draw_frame(lay_out(folder.pills, demo, table), view, demo, rng)
        (image_dir / f"{stem}.png").write_bytes(png_bytes(photo))
        for pill, box, label_dir in zip(folder.pills, boxes, label_dirs, strict=True):
            label = label_bytes(stem, pill, view, box, demo.frame_width_px, demo.frame_height_px)
            (label_dir / f"{stem}.json").write_bytes(label)
        thumbs.append(cv2.resize(photo, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA))
    if folder.is_combination:
        (image_dir / f"{folder.name}_index.png").write_bytes(png_bytes(np.hstack(thumbs)))
    return len(folder.views)


def png_bytes(photo: np.ndarray) -> bytes:
    """An RGB photo [h, w, 3] uint8 as PNG."""
    _, encoded = cv2.imencode(".png", cv2.cvtColor(photo, cv2.COLOR_RGB2BGR), PNG_SETTINGS)
    return encoded.tobytes()


def _draw_folders(
    root: Path,
    folders: Sequence[PlannedFolder],
    demo: DemoParams,
    seed: int,
    num_workers: int,
    on_progress: OnProgress,
) -> None:
    total, done = sum(len(folder.views) for folder in folders), 0
    on_progress(0, total)
    with workers(num_workers, __name__, KILLED) as spread:
        for count in spread(partial(draw_folder, root, demo=demo, seed=seed), folders):
            done += count
            on_progress(done, total)
    combination = next(folder for folder in folders if folder.is_combination)
    junk = f"._{combination.stem(combination.views[0])}.png"
    (root / combination.folder("images") / junk).write_bytes(MAC_JUNK)


def _is_drawn(root: Path, wanted: dict[str, object]) -> bool:
    """Whether the stamp matches and no file is missing."""
    try:
        stamp = files.read_json(root / STAMP, "Draw the tree again.")
    except DataError:
        return False
    count = stamp.pop("files", None)
    return count is not None and stamp == wanted and count == _count_files(root)


def _count_files(root: Path) -> int:
    return sum(len(names) for part in PARTS for _, _, names in os.walk(root / part))


def _refuse_full_disk(root: Path, folders: Sequence[PlannedFolder], demo: DemoParams) -> None:
    photos = sum(len(folder.views) for folder in folders)
    needed = int(photos * demo.frame_width_px * demo.frame_height_px * 3 * BYTES_PER_VALUE)
    free = shutil.disk_usage(root).free
    if needed > free:
        fact = f"{root}: {photos} photos need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free."
        raise MachineError(fact, "Free disk space, or lower demo.classes or demo.photos_per_group.")


def _drawing_version() -> str:
    """A hash over the code that draws; when it changes, the tree is drawn again."""
    code = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return hashlib.sha256(code).hexdigest()
