"""Draws crops of invented pills straight into crop stores, by all cores, until it is stopped.

    python benchmarks/drawn_crops.py FOLDER --classes 1000 --per-class 100 --crop-px 384

Not a whole photo is drawn but the window of it that a crop can reach, at the photo's scale and
place: a quarter of the work. A fifth of each class is val. When a file FOLDER/stop appears, what is
drawn so far is kept, as evenly over the classes as may be. `gpu_check.py` runs it beside its work.
"""

import argparse
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from math import radians, sin
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from pillsnap.dataset import arrow, crops, pixels
from pillsnap.demo.backdrops import SHIFT_PX, add_noise, brightness, draw_backdrop
from pillsnap.demo.photos import WIDTH_MM, Pose, add_pill, lay_out
from pillsnap.demo.pills import DrawnPill, invent_pills
from pillsnap.params import load
from pillsnap.stage.hardware import cpu_count

PARAMS = Path(__file__).parents[1] / "params.yaml"
CAMERA = load(PARAMS).demo.model_copy(
    update={"frame_width_px": 976, "frame_height_px": 1280, "noise": 0.8}
)
WINDOW_PX = 744  # no crop reaches farther, and no window over the photo's edge
JPEG_QUALITY, MARGIN = 95, 0.15  # as params.yaml has them
LATITUDES = (60, 70, 75, 90)
VIEWS_OF_TASK = 20
VAL_EVERY = 5
TASKS_OF_BATCH = 8  # whole batches of 128 for train, as each task gives it 16 crops
SEED = 1


def draw_crop(pill: DrawnPill, crop_px: int, rng: np.random.Generator) -> bytes:
    """JPEG of one crop: any background, light, side, turn and place, as `draw_frame` has."""
    back, light, side = (int(rng.integers(choices)) for choices in (3, 3, 2))
    latitude, longitude = int(rng.choice(LATITUDES)), int(rng.integers(18)) * 20
    placed = lay_out([pill], CAMERA, rng)[0]
    width, height, px_per_mm = (
        CAMERA.frame_width_px,
        CAMERA.frame_height_px,
        CAMERA.frame_width_px / WIDTH_MM,
    )
    x = width / 2 + placed.x_mm * px_per_mm
    y = height / 2 + placed.y_mm * px_per_mm * sin(radians(latitude))
    left, top = int(x) - WINDOW_PX // 2, int(y) - WINDOW_PX // 2
    exposure = float(rng.uniform(0.95, 1.04))
    column, row = left + int(rng.integers(SHIFT_PX)), top + int(rng.integers(SHIFT_PX))
    whole = draw_backdrop(back, light, width, height)
    window = whole[row : row + WINDOW_PX, column : column + WINDOW_PX]
    photo = np.asarray(cv2.convertScaleAbs(window, alpha=exposure))
    bright = brightness(light, np.array([x / width - 0.5]), np.array([y / height - 0.5]))
    pose = Pose(
        side=side, x_px=x - left, y_px=y - top, turn=radians(placed.turn_deg + longitude),
        elevation=radians(latitude), px_per_mm=px_per_mm, sprite_px_per_mm=px_per_mm, light=light,
        exposure=exposure * float(bright[0]),
    )  # fmt: skip
    box = add_pill(photo, pill, pose)
    crop = pixels.cut(add_noise(photo, CAMERA.noise, rng), box, crop_px, MARGIN)
    return pixels.encode(crop, JPEG_QUALITY)


def draw_views(class_index: int, pill: DrawnPill, turn: int, crop_px: int) -> list[bytes]:
    """The crops of one task."""
    rngs = (np.random.default_rng((SEED, class_index, turn, view)) for view in range(VIEWS_OF_TASK))
    return [draw_crop(pill, crop_px, rng) for rng in rngs]


def drawn(
    pills: list[DrawnPill], per_class: int, crop_px: int, num_workers: int, stop: Path
) -> Iterator[tuple[int, list[bytes]]]:
    """Crops of a class at a time, all classes before any comes again."""
    tasks = [(i, turn) for turn in range(per_class // VIEWS_OF_TASK) for i in range(len(pills))]
    pool = ProcessPoolExecutor(
        num_workers, mp_context=get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)
    )
    with pool:
        begun = {i: pool.submit(draw_views, tasks[i][0], pills[tasks[i][0]], tasks[i][1], crop_px)
                 for i in range(min(2 * num_workers, len(tasks)))}  # fmt: skip
        for number, (class_index, _) in enumerate(tasks):
            if number % TASKS_OF_BATCH == 0 and stop.exists():
                break
            yield class_index, begun.pop(number).result()
            if (after := number + 2 * num_workers) < len(tasks):
                index, turn = tasks[after]
                begun[after] = pool.submit(draw_views, index, pills[index], turn, crop_px)


def crop_row(number: int, code: str, class_index: int, jpeg: bytes) -> dict[str, object]:
    """A row of a crop store; angles and box are of no use here."""
    texts = {"image_path": f"{number}.png", "mapping_code": code, "image_type": "single",
             "group_id": str(number), "content_hash": ""}  # fmt: skip
    whole = dict.fromkeys(crops.SCHEMA.names, 0)
    return {**whole, **texts, "class_index": class_index, "known": True, "jpeg": jpeg}


def draw(folder: Path, classes: int, per_class: int, crop_px: int, num_workers: int) -> int:
    """Write `folder`/train.arrow and val.arrow; how many crops they hold together."""
    pills = invent_pills(classes, SEED)
    count = 0
    with (
        arrow.arrow_writer(folder / "train.arrow", crops.SCHEMA) as train,
        arrow.arrow_writer(folder / "val.arrow", crops.SCHEMA) as val,
    ):
        views = drawn(pills, per_class, crop_px, num_workers, folder / "stop")
        for class_index, jpegs in views:
            for view, jpeg in enumerate(jpegs):
                writer = val if view % VAL_EVERY == VAL_EVERY - 1 else train
                writer.add(crop_row(count, pills[class_index].code, class_index, jpeg))
                count += 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--per-class", type=int, default=100)
    parser.add_argument("--crop-px", type=int, default=384)
    parser.add_argument("--num-workers", type=int, default=cpu_count())
    asked = parser.parse_args()
    os.nice(10)  # it fills the time of others
    asked.folder.mkdir(parents=True, exist_ok=True)
    count = draw(
        asked.folder, asked.classes, asked.per_class, asked.crop_px, asked.num_workers
    )  # fmt: skip
    print(f"{count} crops drawn")


if __name__ == "__main__":
    main()
