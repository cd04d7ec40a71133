"""The input and the result of a training, as far as both models share them."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from pillsnap.params import Params, Section
from pillsnap.training import devices, ranks
from pillsnap.training.ranks import ALONE, Ranks


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """The settings of a training that both models share."""

    lr_key: ClassVar[str]  # of params.yaml
    epochs: int
    batch_size: int  # of all ranks together
    lr: float  # peak learning rate
    recipe: Section
    seed: int
    device: torch.device
    dtype: torch.dtype | None  # of autocast; None: float32
    compile: bool
    deterministic: bool = False
    num_workers: int
    goals: dict[str, float | None]  # shown next to the curves, decide nothing
    ranks: Ranks = ALONE


@dataclass(frozen=True)
class Trained:
    """The averaged weights of the best epoch and its metrics."""

    weights: dict[str, torch.Tensor]
    metrics: dict[str, float]
    epoch: int


def shared(params: Params, device: torch.device, group: Ranks) -> dict[str, Any]:
    """The fields of a TrainingPlan that both models take from the same keys of params.yaml."""
    on_gpu = device.type == "cuda"
    return {
        "epochs": params.train.epochs,
        "seed": params.seed,
        "device": device,
        "deterministic": params.train.deterministic,
        "dtype": devices.autocast_dtype(device, params.train.mixed_precision),
        "num_workers": devices.loader_workers(
            params.train.num_workers, on_gpu, ranks.on_this_host()
        ),
        "ranks": group,
    }
