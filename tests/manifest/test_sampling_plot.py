"""The plot of the choice."""

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
    return {name: np.array(values)[list(places)] for name, values in COLUMNS.items()}


def test_equal_choices_are_equal_pictures_also_without_a_test_part(tmp_path):
    nothing = {name: np.array(values)[:0] for name, values in COLUMNS.items()}
    for name, train, test in (
        ("a", (0, 1, 2), rows(2)), ("b", (0, 1, 2), rows(2)), ("c", (0, 1), nothing),
    ):  # fmt: skip
        path = tmp_path / f"{name}.png"
        sampling_plot.draw({"train": rows(*train), "val": rows(0), "test": test}, path)
        assert cv2.imread(str(path)) is not None
    first, second, third = (path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert first == second != third
