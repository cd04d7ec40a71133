"""What goes into a detector's training, and what comes out."""

from dataclasses import dataclass

import torch

from pillsnap.params import TrainDetectionParams
from pillsnap.training.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Plan:
    """What a training run is: everything but the data."""

    architecture: str
    weights: str | None  # None: from scratch | hub | path of an Ultralytics .pt
    image_px: int
    epochs: int
    batch_size: int  # of all ranks together; a multiple of their number
    lr: float
    recipe: TrainDetectionParams
    seed: int
    device: torch.device
    bf16: bool
    compile: bool
    num_workers: int
    goals: dict[str, float | None]  # shown beside the curves, decide nothing
    ranks: Ranks = ALONE


@dataclass(frozen=True)
class Trained:
    """The averaged weights of the best epoch and its figures."""

    weights: dict[str, torch.Tensor]
    metrics: dict[str, float]
    epoch: int
