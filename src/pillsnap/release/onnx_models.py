"""Detector and classifier in onnxruntime: the same as in torch, without torch.

The graphs scale and normalise uint8 pictures; letterbox, suppression and resizing are done here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
import orjson

from pillsnap import files
from pillsnap.arrays import Floats32, Pixels
from pillsnap.boxes import MAX_PILLS, Boxes
from pillsnap.classification.augment import to_input
from pillsnap.detection import letterbox
from pillsnap.errors import CheckpointError, reason_of
from pillsnap.onnx_session import open_graph
from pillsnap.training import configs

METADATA_KEY = "pillsnap"  # of the graph's metadata: JSON, the checkpoint's configuration and more
AGAIN = "Export it again: pillsnap export"


class OnnxDetector:
    """A trained detector."""

    def __init__(self, path: Path, num_threads: int) -> None:
        self._session, self.config = _open(path, "detection", num_threads)

    def detect(
        self, frames: Sequence[Pixels], confidence: float, iou: float
    ) -> list[tuple[Boxes, Floats32]]:
        """Boxes [n, 4] in pixels of each frame and scores [n], best first.

        `frames` are uint8 RGB [h, w, 3] of any sizes; those of equal size share a batch.
        """
        return letterbox.detect(
            frames,
            self.config["image_px"],
            lambda batch: [suppress(each, confidence, iou, MAX_PILLS) for each in self.raw(batch)],
        )

    def raw(self, batch: Pixels) -> Floats32:
        """The graph's output [n, 5, anchors] for letterboxed frames [n, h, w, 3]."""
        return np.asarray(self._session.run(["boxes"], {"frames": batch})[0], np.float32)


class OnnxClassifier:
    """A trained classifier."""

    def __init__(self, path: Path, num_threads: int) -> None:
        self._session, self.config = _open(path, "classification", num_threads)

    def classify(self, crops: Pixels) -> tuple[Floats32, Floats32]:
        """Logits [n, classes] and embeddings [n, d] of crops [n, crop_px, crop_px, 3]."""
        pictures = to_input(crops, self.config["image_px"])
        logits, embeddings = self._session.run(["logits", "embeddings"], {"crops": pictures})
        return np.asarray(logits, np.float32), np.asarray(embeddings, np.float32)


def suppress(
    predicted: Floats32, confidence: float, iou: float, max_boxes: int
) -> tuple[Boxes, Floats32]:
    """Non-maximum suppression of one frame: [5, anchors] centre x, y, width, height, score ->
    boxes [n, 4] x1 y1 x2 y2 and scores [n], best first."""
    score = predicted[4]
    rows = np.flatnonzero(score > confidence)
    rows = rows[np.argsort(-score[rows], kind="stable")]
    centre, side = predicted[:2, rows].T, predicted[2:4, rows].T
    corner = centre - side / 2
    box = np.concatenate([corner, centre + side / 2], axis=1)
    xywh = np.concatenate([corner, side], axis=1)
    kept = np.array(cv2.dnn.NMSBoxes(xywh.tolist(), score[rows].tolist(), 0.0, iou), np.int64)[
        :max_boxes
    ]
    return box[kept], score[rows[kept]]


def _open(path: Path, kind: str, num_threads: int) -> tuple[ort.InferenceSession, dict[str, Any]]:
    with files.opened(path, AGAIN, CheckpointError, files.LARGEST_MODEL_BYTES) as file:
        content = file.read()
    try:
        session = open_graph(content, num_threads)
        config = orjson.loads(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
        assert isinstance(config, dict), "its metadata"
    except Exception as error:  # a foreign or damaged file fails in many ways: one refusal
        fact = f"{path} is not a model exported by PillSnap: {reason_of(error)}"
        raise CheckpointError(fact, AGAIN) from None
    configs.check(config, kind, path, AGAIN)
    return session, config
