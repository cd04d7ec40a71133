"""Fits frames of any size to the detector's input, and maps boxes back."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pillsnap import boxes
from pillsnap.arrays import Floats32, Pixels
from pillsnap.boxes import Boxes

GREY = 114  # Ultralytics' letterbox colour
STRIDE = 32  # of the detectors' coarsest map

Found = tuple[Boxes, Floats32]  # boxes [n, 4] in pixels and scores [n], best first


@dataclass(frozen=True)
class Letterbox:
    """A frame scaled to fit, centred on grey, sides multiples of the stride."""

    width: int
    height: int
    scale: float
    left: int
    top: int
    out_width: int
    out_height: int

    @classmethod
    def of(cls, width: int, height: int, image_px: int) -> "Letterbox":
        """The letterbox that fits a frame of that size to a longest side of `image_px`."""
        scale = image_px / max(width, height)
        inner_width, inner_height = round(width * scale), round(height * scale)
        out_width, out_height = (
            -(-side // STRIDE) * STRIDE for side in (inner_width, inner_height)
        )
        left, top = (out_width - inner_width) // 2, (out_height - inner_height) // 2
        return cls(width, height, scale, left, top, out_width, out_height)

    def apply(self, frame: Pixels) -> Pixels:
        """uint8 [out_height, out_width, 3]."""
        size = (round(self.width * self.scale), round(self.height * self.scale))
        method = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_LINEAR
        canvas = np.full((self.out_height, self.out_width, 3), GREY, np.uint8)
        inner = cv2.resize(frame, size, interpolation=method)
        canvas[self.top : self.top + size[1], self.left : self.left + size[0]] = inner
        return canvas

    def undo(self, found: Boxes) -> Boxes:
        """Boxes of the letterboxed picture in pixels of the frame, clipped to it."""
        moved = (found - np.array([self.left, self.top] * 2, np.float32)) / np.float32(self.scale)
        return boxes.clip(moved, self.width, self.height)


def detect(
    frames: Sequence[Pixels], image_px: int, infer: Callable[[Pixels], Iterable[Found]]
) -> list[Found]:
    """What `infer` finds in uint8 RGB frames [h, w, 3]; it gets those of equal size at once."""
    found: dict[int, Found] = {}
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for i, frame in enumerate(frames):
        by_shape.setdefault(frame.shape, []).append(i)
    for shape, members in by_shape.items():
        fit = Letterbox.of(shape[1], shape[0], image_px)
        answers = infer(np.stack([fit.apply(frames[i]) for i in members]))
        for i, (box, score) in zip(members, answers, strict=True):
            found[i] = (fit.undo(box), score)
    return [found[i] for i in range(len(frames))]
