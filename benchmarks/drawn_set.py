"""A drawn set of single pills for the benchmarks: PNG frames, crop stores, the same crops as files.

Not a script: `training.py` draws with it.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from make.crop_files import write_store
from pillsnap.dataset import pixels
from pillsnap.dataset.names import View
from pillsnap.demo.photos import draw_frame, lay_out
from pillsnap.demo.pills import invent_pills
from pillsnap.demo.tree import png_bytes
from pillsnap.params import load

PARAMS = Path(__file__).parents[1] / "params.yaml"
FRAMES_KEPT = 120  # PNGs to decode: more would only fill the disk
LATITUDES = (60, 70, 75, 90)
JPEG_QUALITY, MARGIN = 95, 0.15  # as params.yaml has them
NOISE = 1.1  # grey levels: PNGs of 1.2 MB, as the real ones are


@dataclass(frozen=True)
class DrawnSet:
    """Where the parts of a drawn set lie; `classes` codes, a fifth of the crops is val."""

    root: Path
    classes: int
    crop_sizes_px: tuple[int, ...]

    @property
    def frames_dir(self) -> Path:
        """PNG frames in folders named by code."""
        return self.root / "frames"

    def stores_dir(self, crop_px: int) -> Path:
        """train.arrow and val.arrow."""
        return self.root / f"crops_{crop_px}"

    def files_dir(self, crop_px: int) -> Path:
        """{train,val}/<code>/<number>.jpg: the same JPEG bytes as in the stores."""
        return self.root / f"files_{crop_px}"


def draw(
    root: Path, count: int, classes: int, crop_sizes_px: tuple[int, ...], frame_px: tuple[int, int]
) -> DrawnSet:
    """Draw `count` photos (width, height = frame_px) and cut a crop of every size from each."""
    drawn = DrawnSet(root, classes, crop_sizes_px)
    pills = invent_pills(classes, seed=1)
    demo = load(PARAMS).demo.model_copy(
        update={"frame_width_px": frame_px[0], "frame_height_px": frame_px[1], "noise": NOISE}
    )
    rows: list[dict[str, object]] = []
    jpegs: dict[int, list[bytes]] = {side: [] for side in crop_sizes_px}
    for number in range(count):
        rng = np.random.default_rng((1, number))
        class_index = number % classes
        placed = lay_out([pills[class_index]], demo, rng)
        photo, [box] = draw_frame(placed, _view(rng), demo, rng)
        code = pills[class_index].code
        if number < FRAMES_KEPT:
            _write(drawn.frames_dir / code / f"{number}.png", png_bytes(photo))
        rows.append(_row(number, code, class_index, box))
        for side in crop_sizes_px:
            crop = pixels.cut(photo, box, side, MARGIN)
            jpegs[side].append(pixels.encode(crop, JPEG_QUALITY))
    for side in crop_sizes_px:
        _write_crops(drawn, side, rows, jpegs[side])
    return drawn


def _view(rng: np.random.Generator) -> View:
    back, light, side = (int(rng.integers(choices)) for choices in (3, 3, 2))
    angles = int(rng.choice(LATITUDES)), int(rng.integers(18)) * 20
    return View(0, back, side, light, *angles, 200)


def _row(
    number: int, code: str, class_index: int, box: tuple[int, int, int, int]
) -> dict[str, object]:
    sides = dict(zip(("box_x", "box_y", "box_w", "box_h"), box, strict=True))
    angles = dict.fromkeys(("back", "direction", "light", "latitude", "longitude"), 0)
    return {
        "image_path": f"{number}.png",
        "mapping_code": code,
        "class_index": class_index,
        "known": True,
        "image_type": "single",
        "group_id": str(number),
        "content_hash": "",
        **angles,
        **sides,
    }


def _write_crops(
    drawn: DrawnSet, side: int, rows: list[dict[str, object]], jpegs: list[bytes]
) -> None:
    table = pd.DataFrame(rows)
    held = (np.arange(len(rows)) // drawn.classes) % 5 == 4  # every code has crops in both
    drawn.stores_dir(side).mkdir(parents=True)
    for split, chosen in {"train": ~held, "val": held}.items():
        numbers = np.flatnonzero(chosen).tolist()
        part = [jpegs[number] for number in numbers]
        write_store(drawn.stores_dir(side) / f"{split}.arrow", table[chosen], part)
        for number in numbers:
            code = str(rows[number]["mapping_code"])
            _write(drawn.files_dir(side) / split / code / f"{number}.jpg", jpegs[number])


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
