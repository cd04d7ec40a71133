"""What both training stages do around the training: device, processes, work folder, publishing."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pillsnap.params import Params
from pillsnap.places import Places
from pillsnap.stage.log import RunLog
from pillsnap.training import checkpoints, devices, ranks
from pillsnap.training.checkpoints import WorkFolder
from pillsnap.training.plan import Trained, TrainingPlan
from pillsnap.training.ranks import Ranks
from pillsnap.training.run_key import run_key

# How fast, not what: or replaced by the batch size that was used.
LEFT_OUT = {"num_workers", "batch_size", "batch_size_cpu", "batch_size_most",
            "detection_batch_size"}  # fmt: skip


@dataclass(frozen=True)
class Session:
    """One process of a training stage."""

    model: str  # one of places.MODELS
    params: Params
    device: torch.device
    ranks: Ranks
    folder: WorkFolder
    log: RunLog

    @property
    def live_dir(self) -> Path:
        """Where the epochs are recorded."""
        return self.params.artifacts_dir / "live" / self.model

    def announce(self, what: str) -> None:
        """Log what is trained and on which device."""
        self.log.info(f"{what}, on {devices.describe(self.device, self.ranks.world_size)}")

    def publish(self, plan: TrainingPlan, trained: Trained, **config: Any) -> None:
        """Write the checkpoint with its configuration, then delete the work folder."""
        if not self.ranks.is_main:
            return
        parameters = {
            **self.params.train.model_dump(exclude=LEFT_OUT),
            **plan.recipe.model_dump(),
            "batch_size": plan.batch_size,
            "lr": plan.lr,
            "seed": plan.seed,
        }
        path = Places.of(self.params).checkpoint(self.model)
        checkpoints.publish(
            path,
            trained.weights,
            {
                "kind": self.model,
                **config,
                "parameters": parameters,
                "metrics": trained.metrics,
                "epoch": trained.epoch,
            },
        )
        self.folder.remove()


@contextmanager
def opened(model: str, params: Params, log: RunLog) -> Iterator[Session]:
    """This process's session: its device, the other processes, and on rank 0 the work folder."""
    stage = f"train_{model}"
    device = devices.choose(params.train.device, ranks.local_rank())
    folder = WorkFolder(stage, run_key(stage))
    with (
        ranks.joined(params.train.devices, device) as group,
        folder if group.is_main else nullcontext(),
    ):
        devices.choose_kernels(device, params.train.deterministic)
        log.follow_gpu(devices.gpu_uuid(device))
        yield Session(model, params, device, group, folder, log)
