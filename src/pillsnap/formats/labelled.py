"""What the labels of a picture say, whatever form they have."""

from typing import NamedTuple

from pillsnap.aihub.decoding import RefusalError

Edges = tuple[float, float, float, float]  # x1 y1 x2 y2


class Labelled(NamedTuple):
    """A picture as its labels describe it; the picture itself was not opened."""

    image_path: str  # relative to the root, as on disk
    label_path: str
    part: str  # train | val | test; "" where the set is not divided
    pills: list[tuple[str, Edges]]  # name of the drug, box
    size: tuple[int, int] | None = None  # that the boxes refer to; None: fractions of the sides
    fault: RefusalError | None = None  # why the picture cannot be used


def enclosing(points: list[float]) -> Edges:
    """The box around a polygon x y x y ..."""
    xs, ys = points[0::2], points[1::2]
    return min(xs), min(ys), max(xs), max(ys)
