"""A data set for the detector: bright squares on dark frames."""

from pathlib import Path

import cv2
import numpy as np


def write(folder: Path, frames: int = 8, side: int = 96) -> Path:
    """`frames` of `side` px in train and in val, a square of 30 px in each."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for i in range(frames):
            picture = rng.integers(0, 60, (side, side, 3)).astype(np.uint8)
            x, y = rng.integers(5, side - 40, 2)
            picture[y : y + 30, x : x + 30] = 220
            cv2.imwrite(str(folder / "images" / split / f"{i}.jpg"), picture)
            box = [(x + 15) / side, (y + 15) / side, 30 / side, 30 / side]
            line = " ".join(["0", *(f"{part:.6f}" for part in box)])
            (folder / "labels" / split / f"{i}.txt").write_text(f"{line}\n")
    return folder
