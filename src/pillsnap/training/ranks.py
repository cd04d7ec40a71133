"""The processes that train one model together: their parts of a batch, and their sums.

Gradients are summed here, not by DistributedDataParallel: parts of a batch may be unequal, and a
step that ran out of memory in one process is redone by all. Every process holds the same model.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pillsnap.errors import MachineError, ParameterError, reason_of
from pillsnap.stage.signals import end_with_parent

TIMEOUT = timedelta(minutes=10)  # for a process that does not answer
# Without it torch 2.15 keeps one store for all starts: restarted processes may find each other's
# old addresses in it and wait forever.
OWN_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
LEAST_PART = 2  # samples: batch norm needs two where the last feature map is one pixel


class PeerLostError(Exception):
    """Another process of this training has ended."""


@dataclass(frozen=True)
class Ranks:
    """One process of a training; rank 0 logs, saves and publishes."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process logs, saves and publishes."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """This process's positions in a batch of `count`; a small batch leaves last ranks empty."""
        busy = max(1, min(self.world_size, count // LEAST_PART))
        whole, more = divmod(count, busy)
        ends = [(rank + 1) * whole + min(rank + 1, more) for rank in range(busy)]
        starts = [0, *ends][:busy]
        return slice(starts[self.rank], ends[self.rank]) if self.rank < busy else slice(count, None)

    def add(self, tensors: list[torch.Tensor]) -> None:
        """Replace tensors of one type by their sums over all processes, in one message."""
        if self.world_size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        _sent(dist.all_reduce, flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    def share(self, model: nn.Module, part: float, *sums: torch.Tensor) -> None:
        """Sum gradients and `sums`, average batch norms; our `part` of the batch is 0 to 1."""
        if self.world_size == 1:
            return
        trained = [p for p in model.parameters() if p.requires_grad]
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        running = running_statistics(model)
        for statistic in running:
            statistic.mul_(part)
        self.add([*(p.grad for p in trained if p.grad is not None), *running, *sums])

    def total(self, count: int) -> int:
        """Sum of integers over all processes; waits on the CPU only."""
        if self.world_size == 1:
            return count
        sums = torch.tensor(count)
        _sent(dist.all_reduce, sums)
        return int(sums)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return self.total(int(flag)) > 0

    def same(self, state: Any) -> Any:
        """Rank 0's tensors (in host memory) and plain values, in every process."""
        shared = [state]
        if self.world_size > 1:
            _sent(dist.broadcast_object_list, shared, src=0, device=torch.device("cpu"))
        return shared[0]


ALONE = Ranks()


def started_by_torchrun() -> bool:
    """Whether torchrun (or something that sets the same variables) started this process."""
    return {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"} <= set(os.environ)


def local_rank() -> int | None:
    """The number of this process on its host; None when it is alone."""
    return int(os.environ["LOCAL_RANK"]) if started_by_torchrun() else None


def on_this_host() -> int:
    """How many processes of the training run here."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if started_by_torchrun() else 1


@contextmanager
def joined(devices: int, device: torch.device) -> Iterator[Ranks]:
    """Join the other processes that torchrun started, `devices` in all; ALONE without it."""
    if not started_by_torchrun():
        yield ALONE
        return
    group = Ranks(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    if group.world_size != devices:
        raise ParameterError(
            f"train.devices is {devices}, but torchrun started {group.world_size} processes.",
            f"Set train.devices to {group.world_size}: the result depends on it.",
        )
    if "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get(OWN_STORE) != "1":
        raise MachineError(
            f"torchrun was started without {OWN_STORE}=1: processes that it restarts could "
            "wait for each other forever.",
            f"export {OWN_STORE}=1 before torchrun, on every host.",
        )
    end_with_parent(signal.SIGKILL)  # nothing may outlive the launcher
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    _sent(dist.init_process_group, backend=backend, timeout=TIMEOUT)
    yield group
    dist.destroy_process_group()  # not after an error: it would wait for ended processes


def running_statistics(model: nn.Module) -> list[torch.Tensor]:
    """Running means and variances of the model's batch norms."""
    norms = (module for module in model.modules() if isinstance(module, _BatchNorm))
    statistics = (tensor for norm in norms for tensor in (norm.running_mean, norm.running_var))
    return [tensor for tensor in statistics if tensor is not None]


def _sent(send: Any, *arguments: Any, **options: Any) -> None:
    try:
        send(*arguments, **options)
    except RuntimeError as error:
        raise PeerLostError(reason_of(error)) from error
