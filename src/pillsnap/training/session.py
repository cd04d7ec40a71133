"""What both training stages share: plan, device, processes, work folder, publishing."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from pillsnap import files
from pillsnap import params as parameters
from pillsnap.params import Params, Section
from pillsnap.places import Places
from pillsnap.stage.log import RunLog
from pillsnap.stage.run import git_revision
from pillsnap.training import checkpoints, devices, ranks
from pillsnap.training.checkpoints import WorkFolder
from pillsnap.training.ranks import ALONE, PeerLostError, Ranks

PEER_LOST = 75  # exit code: temporary, torchrun starts all processes again
# How fast, not what: or replaced by the batch size that was used.
LEFT_OUT = {"num_workers", "batch_size", "batch_size_most", "detection_batch_size"}


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
    deterministic: bool = False
    num_workers: int
    goals: dict[str, float | None]  # shown next to the curves, decide nothing
    ranks: Ranks = ALONE

    def described(self) -> str:
        """The configuration and the git revision in one line, for the monitor."""
        own = {name: getattr(self, name) for name in ("epochs", "batch_size", "lr", "seed")}
        own |= {**self.recipe.model_dump(), "revision": git_revision()}
        return ", ".join(f"{name} {value}" for name, value in own.items())


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
        used = {"batch_size": plan.batch_size, "lr": plan.lr, "seed": plan.seed}
        settings = self.params.train.model_dump(exclude=LEFT_OUT) | plan.recipe.model_dump() | used
        result = {"parameters": settings, "metrics": trained.metrics, "epoch": trained.epoch}
        path = Places.of(self.params).checkpoint(self.model)
        checkpoints.publish(path, trained.weights, {"kind": self.model, **config, **result})
        self.folder.remove()


@contextmanager
def opened(model: str, params: Params, log: RunLog) -> Iterator[Session]:
    """This process's session: its device, the other processes, and on rank 0 the work folder."""
    stage = f"train_{model}"
    device = devices.choose(params.train.device, ranks.local_rank())
    folder = WorkFolder(stage, run_key(stage))
    try:
        with (
            ranks.joined(params.train.devices, device) as group,
            folder if group.is_main else nullcontext(),
        ):
            devices.choose_kernels(device, params.train.deterministic)
            log.follow_gpu(devices.gpu_uuid(device))
            yield Session(model, params, device, group, folder, log)
    except PeerLostError as error:
        log.warning(f"Another process has ended ({error}): all are started again.")
        os._exit(PEER_LOST)  # at once: an orderly exit would wait for the others


def run_key(stage: str, root: Path = Path()) -> str:
    """Hash of everything a stage's result depends on: its parameters and the content of its deps.

    Both are read from dvc.yaml, so that the key cannot disagree with DVC. Other parameters, data or
    code give another key and with it another work folder: nothing stale is ever resumed.
    """
    cure = "Run the command in the root of the repository."
    tree = files.read_yaml(root / "params.yaml", cure)
    definition = files.read_yaml(root / "dvc.yaml", cure)["stages"][stage]
    scale = str(tree["scale"])
    digest = hashlib.sha256()
    for name in definition["params"]:
        key = name.replace("${scale}", scale)
        digest.update(f"{key}={parameters.at(tree, key)!r}\n".encode())
    for name in definition["deps"]:
        path = name.replace("${scale}", scale)
        digest.update(f"{path} {_content_hash(root / path)}\n".encode())
    return digest.hexdigest()[:16]


def _content_hash(path: Path) -> str:
    """Hash over names and bytes; in a folder of code only over *.py, as .dvcignore has it."""
    digest = hashlib.sha256()
    for file in _files(path):
        digest.update(f"{file.relative_to(path)} {files.sha256_of(file)}\n".encode())
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    pattern = "*.py" if any(path.rglob("*.py")) else "*"
    found = (item for item in path.rglob(pattern) if item.is_file())
    return sorted(item for item in found if item.suffix != ".cache")  # Ultralytics' own
