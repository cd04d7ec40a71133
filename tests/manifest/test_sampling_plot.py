"""The plot of the choice."""

from pathlib import Path

import cv2
import numpy as np

from pillsnap.dataset.manifest import Rows
from pillsnap.manifest import sampling_plot

COLUMNS = {
    "known": [True, True, False], "class_index": [0, 1, -1], "light": [0, 1, 2],
    "back": [2, 2, 2], "direction": [0, 1, 0], "latitude": [70, 75, 90],
    "image_type": ["single", "single", "combination"],
}  # fmt: skip


def rows(*places: int) -> Rows:
    """Some of three pills."""
    return {name: np.array(values)[list(places)] for name, values in COLUMNS.items()}


def test_it_draws_the_same_bytes_twice(tmp_path: Path) -> None:
    splits = {"train": rows(0, 1, 2), "val": rows(0), "test": rows(2)}
    for name in ("a.png", "b.png"):
        sampling_plot.draw(splits, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert cv2.imread(str(tmp_path / "a.png")) is not None


def test_an_empty_test_part_can_be_drawn(tmp_path: Path) -> None:
    splits = {
        "train": rows(0, 1, 2),
        "val": rows(1, 2),
        "test": {name: np.array(values)[:0] for name, values in COLUMNS.items()},
    }
    sampling_plot.draw(splits, tmp_path / "a.png")
    assert cv2.imread(str(tmp_path / "a.png")) is not None


def test_another_choice_is_another_picture(tmp_path: Path) -> None:
    for name, train in (("a.png", rows(0, 1, 2)), ("b.png", rows(0, 1))):
        sampling_plot.draw({"train": train, "val": rows(0), "test": rows(2)}, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()
