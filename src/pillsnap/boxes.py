"""Boxes: arrays [n, 4] in pixels, x1 y1 x2 y2 unless a name says xywh."""

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]

MAX_PILLS = 100  # boxes kept per frame, whatever library finds them


def from_xywh(xywh: NDArray[np.generic]) -> Boxes:
    """[n, 4] x, y, width, height -> x1, y1, x2, y2."""
    boxes = np.asarray(xywh, dtype=np.float32).reshape(-1, 4).copy()
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def to_xywh(boxes: Boxes) -> Boxes:
    """[n, 4] x1, y1, x2, y2 -> x, y, width, height."""
    xywh = np.asarray(boxes, dtype=np.float32).reshape(-1, 4).copy()
    xywh[:, 2:] -= xywh[:, :2]
    return xywh


def iou(a: Boxes, b: Boxes) -> NDArray[np.float32]:
    """Intersection over union of every box of a with every box of b: [len(a), len(b)]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = np.clip(high - low, 0, None).prod(axis=2)
    union = _area(a)[:, None] + _area(b)[None, :] - intersection
    return np.asarray(intersection / np.maximum(union, 1e-9), dtype=np.float32)


def clip(boxes: Boxes, width: int, height: int) -> Boxes:
    """Boxes cut to the frame 0..width, 0..height."""
    limit = np.array([width, height, width, height], dtype=np.float32)
    return np.asarray(np.clip(boxes, 0, limit), dtype=np.float32)


def _area(boxes: Boxes) -> NDArray[np.float32]:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), dtype=np.float32)
