"""A trained detector, loaded from its checkpoint."""

# isort: off
import pillsnap.detection.settings  # noqa: F401  first: sets Ultralytics' switches
# isort: on

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.nms import non_max_suppression

from pillsnap.arrays import Floats32, Pixels
from pillsnap.boxes import MAX_PILLS, Boxes
from pillsnap.detection.letterbox import Letterbox
from pillsnap.errors import CheckpointError
from pillsnap.training import checkpoints


class Detector:
    """A trained detector at inference."""

    def __init__(
        self, weights: dict[str, torch.Tensor], config: dict[str, Any], device: torch.device
    ) -> None:
        self.config = config
        self.device = device
        model = build(config["architecture"])
        model.load_state_dict(weights)
        if hasattr(model, "end2end"):
            model.end2end = False  # boxes of both kinds of head go through the same suppression
        self._model = model.float().fuse(verbose=False).to(device).eval()

    @torch.inference_mode()
    def detect(
        self, frames: Sequence[Pixels], confidence: float, iou: float
    ) -> list[tuple[Boxes, Floats32]]:
        """Boxes [n, 4] in pixels of each frame and scores [n], best first.

        `frames` are uint8 RGB [h, w, 3] of any sizes; those of equal size share a batch.
        """
        found: dict[int, tuple[Boxes, Floats32]] = {}
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for i, frame in enumerate(frames):
            by_shape.setdefault(frame.shape, []).append(i)
        for shape, members in by_shape.items():
            fit = Letterbox.of(shape[1], shape[0], self.config["image_px"])
            batch = np.stack([fit.apply(frames[i]) for i in members])
            inputs = torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2).float() / 255
            predicted = self._model(inputs)
            kept = non_max_suppression(
                predicted, confidence, iou, max_det=MAX_PILLS, nc=1, max_time_img=10.0
            )
            for i, rows in zip(members, kept, strict=True):
                table = rows.cpu().numpy().astype(np.float32)
                found[i] = (fit.undo(table[:, :4]), table[:, 4])
        return [found[i] for i in range(len(frames))]


def build(architecture: str) -> DetectionModel:
    """A one-class YOLO with initial weights."""
    return DetectionModel(f"{architecture}.yaml", nc=1, verbose=False)


def load(path: Path, device: torch.device) -> Detector:
    """Load a published checkpoint."""
    weights, config = checkpoints.load_published(path)
    if config.get("kind") != "detection":
        raise CheckpointError(
            f"{path} holds a {config.get('kind')} model, not a detector.",
            "Give <scale>_detection_best.pt.",
        )
    return Detector(weights, config, device)
