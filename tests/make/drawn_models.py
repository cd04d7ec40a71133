"""Models of a few lines that answer by looking at the picture: bright squares are pills, and the
colour of a square is its class."""

from collections.abc import Sequence
from dataclasses import astuple

import cv2
import numpy as np

from make.made_answers import class_table, made_centres
from pillsnap import boxes
from pillsnap.recognition.calibration import Calibration, OperatingPoint
from pillsnap.recognition.recogniser import Recogniser

COLOURS = np.array([[250, 60, 60], [60, 250, 60], [60, 60, 250], [250, 250, 60]], np.float32)
STRANGE = (250, 60, 250)


class SquareDetector:
    """Detects squares; the larger, the higher their score."""

    def __init__(self) -> None:
        self.config = {}

    def detect(self, frames: Sequence[np.ndarray], confidence: float, iou: float):
        return [self._one(frame, confidence) for frame in frames]

    def _one(self, frame: np.ndarray, confidence: float):
        bright = (frame.max(axis=2) > 200).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(bright)
        xywh = stats[1:][np.argsort(-stats[1:, 4], kind="stable")][:, :4]
        score = np.clip(xywh[:, 2] / 100, 0, 1).astype(np.float32)
        keep = score >= confidence
        return boxes.from_xywh(xywh)[keep], score[keep]


class ColourClassifier:
    """Logits are minus the distances to four colours."""

    def __init__(self) -> None:
        self.config = {"crop_px": 24, "crop_margin": 0.0, "classes": len(COLOURS)}
        self.parameters = 0
        self.batches: list[int] = []

    def classify(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.batches.append(len(crops))
        centre = crops[:, 8:16, 8:16].mean(axis=(1, 2)).astype(np.float32)
        distance = np.linalg.norm(centre[:, None] - COLOURS[None], axis=2)
        length = np.linalg.norm(centre, axis=1, keepdims=True)
        return (-distance / 10).astype(np.float32), (centre / length).astype(np.float32)


def recogniser(batch_size: int = 3) -> Recogniser:
    """A recogniser of four colours that refuses a fifth."""
    means = COLOURS / np.linalg.norm(COLOURS, axis=1, keepdims=True)
    centres = made_centres(means)
    points = (OperatingPoint(0.9, -0.001, 0.2), OperatingPoint(0.95, -0.04, 0.1))
    default = (*astuple(points[1]), points)
    calibration = Calibration(1.0, "mahalanobis", *default, centres, {}, "", 0.25, 0.6, "", "")
    return Recogniser(SquareDetector(), ColourClassifier(), calibration, classes(), batch_size)


def classes():
    table = class_table(4)
    table["edi_codes"] = ["111|222", "", "", ""]
    return table


def frame(*pills: tuple[int, int, int, tuple[int, int, int]]) -> np.ndarray:
    """A grey frame of 300 x 200 px with squares (x, y, side, colour)."""
    pixels = np.full((200, 300, 3), 90, np.uint8)
    for x, y, side, colour in pills:
        pixels[y : y + side, x : x + side] = colour
    return pixels


RED, GREEN, BLUE = (tuple(int(v) for v in COLOURS[i]) for i in range(3))
