"""A trained detector, loaded from its checkpoint."""

# isort: off
import pillsnap.detection.settings  # noqa: F401  first: sets Ultralytics' switches
# isort: on

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.nms import non_max_suppression

from pillsnap.arrays import Pixels
from pillsnap.boxes import MAX_PILLS
from pillsnap.detection import letterbox
from pillsnap.detection.letterbox import Found
from pillsnap.training import checkpoints, configs


class TorchDetector:
    """A trained detector at inference."""

    def __init__(self, model: DetectionModel, config: dict[str, Any], device: torch.device) -> None:
        self.config = config
        self.device = device
        if hasattr(model, "end2end"):
            model.end2end = False  # boxes of both kinds of head go through the same suppression
        self._model = model.float().fuse(verbose=False).to(device).eval()

    @torch.inference_mode()
    def detect(self, frames: Sequence[Pixels], confidence: float, iou: float) -> list[Found]:
        """Boxes [n, 4] in pixels and scores [n], best first, of uint8 RGB frames [h, w, 3]."""
        infer = partial(self._infer, confidence=confidence, iou=iou)
        return letterbox.detect(frames, self.config["image_px"], infer)

    def _infer(self, batch: Pixels, confidence: float, iou: float) -> Iterator[Found]:
        inputs = torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2).float() / 255
        kept = non_max_suppression(
            self._model(inputs), confidence, iou, max_det=MAX_PILLS, nc=1, max_time_img=10.0
        )
        for rows in kept:
            table = rows.cpu().numpy().astype(np.float32)
            yield table[:, :4], table[:, 4]


def build(architecture: str) -> DetectionModel:
    """A one-class YOLO with initial weights."""
    return DetectionModel(f"{architecture}.yaml", nc=1, verbose=False)


def load(path: Path, device: torch.device) -> TorchDetector:
    """Load a published checkpoint."""
    weights, config = checkpoints.load_published(path)
    configs.check(config, "detection", path, checkpoints.AGAIN)
    with checkpoints.fitting(path):
        model = build(config["architecture"])
        model.load_state_dict(weights)
    return TorchDetector(model, config, device)
