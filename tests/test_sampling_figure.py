"""The picture of the choice."""

from pathlib import Path

import cv2
import pandas as pd

from pillsnap.sampling_figure import sampling_figure

ROWS = pd.DataFrame(
    {
        "known": [True, True, False], "class_index": [0, 1, -1], "light": [0, 1, 2],
        "back": [2, 2, 2], "direction": [0, 1, 0], "latitude": [70, 75, 90],
        "image_type": ["single", "single", "combination"],
    }
)  # fmt: skip


def test_it_draws_the_same_bytes_twice(tmp_path: Path) -> None:
    rows = {"train": ROWS, "val": ROWS.iloc[:1], "test": ROWS.iloc[2:]}
    for name in ("a.png", "b.png"):
        sampling_figure(rows, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert cv2.imread(str(tmp_path / "a.png")) is not None


def test_an_empty_test_part_can_be_drawn(tmp_path: Path) -> None:
    sampling_figure({"train": ROWS, "val": ROWS, "test": ROWS.iloc[:0]}, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 0
