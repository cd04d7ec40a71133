"""What a detector and a classifier can do, whatever library runs them."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pillsnap.arrays import Floats32, Pixels
from pillsnap.boxes import Boxes


class Detector(Protocol):
    """Detects pills in frames."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Plain values: architecture, image_px, ..."""

    def detect(
        self, frames: Sequence[Pixels], confidence: float, iou: float
    ) -> list[tuple[Boxes, Floats32]]:
        """Boxes [n, 4] in pixels of each RGB frame and scores [n], best first."""


class Classifier(Protocol):
    """Classifies crops."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Plain values: architecture, image_px, crop_px, crop_margin, ..."""

    def classify(self, crops: Pixels) -> tuple[Floats32, Floats32]:
        """Logits [n, classes] and L2-normalised embeddings [n, d] of crops [n, c, c, 3]."""
