"""The settings of the detector's training."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from pillsnap.params import Params, TrainDetectionParams
from pillsnap.training.ranks import ALONE, Ranks
from pillsnap.training.session import TrainingPlan, shared


@dataclass(frozen=True, kw_only=True)
class DetectionPlan(TrainingPlan):
    """The settings of the detector's training; `batch_size` is a multiple of the ranks."""

    lr_key: ClassVar[str] = "train_detection.lr"
    recipe: TrainDetectionParams
    architecture: str
    weights: str | None  # None: from scratch | hub | path of an Ultralytics .pt
    image_px: int

    @classmethod
    def of(cls, params: Params, device: torch.device, group: Ranks = ALONE) -> "DetectionPlan":
        """The plan that params.yaml describes."""
        scale = params.at_scale
        return cls(
            **shared(params, device, group),
            batch_size=params.train.detection_batch_size,
            lr=params.detection_lr,
            recipe=params.train_detection,
            architecture=scale.detector,
            weights=scale.detector_weights,
            image_px=scale.detection_px,
            goals={"goal/map50": params.targets.detection_map50},
        )

    @property
    def bf16(self) -> bool:
        """Whether to train in bf16; the detector does not train in fp16."""
        return self.dtype is torch.bfloat16
