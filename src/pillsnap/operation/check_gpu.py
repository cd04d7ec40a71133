"""Checklist: the GPU, who uses it, and whether this torch can.

`look` asks the machine, `judge` only thinks, so that machines which are not here can be tested.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pynvml

from pillsnap.operation.point import Point, failed, passed, warned
from pillsnap.params import Params

MOST_USED_SHARE = 0.20  # of the GPU's memory, before we start
SMALL_SCALES = ("demo", "stage1")
NVIDIA_SMI = "nvidia-smi  # if it fails: install or restart the driver"
GO_WITHOUT = "or train without: dvc exp run -S train.device=cpu"


@dataclass(frozen=True)
class Gpu:
    """The card as the driver sees it."""

    name: str
    driver: str
    driver_cuda: tuple[int, int]
    capability: tuple[int, int]
    used_bytes: int
    total_bytes: int
    users: tuple[str, ...]


@dataclass(frozen=True)
class Torch:
    """torch as it was built, and what it sees."""

    version: str
    cuda: str | None
    architectures: tuple[str, ...]
    devices: int


def check(params: Params, _root: Path) -> list[Point]:
    """Points `gpu`, and where there is one `gpu memory` and `gpu and torch`."""
    device = params.train.device
    if device == "cpu":
        return [passed("gpu", "not asked for (train.device is cpu)")]
    index = int(device.partition(":")[2] or 0) if device.startswith("cuda") else 0
    gpu, reason = look(index)
    return judge(gpu, look_at_torch(), device, params.scale, reason)


def judge(gpu: Gpu | None, torch: Torch, device: str, scale: str, reason: str = "") -> list[Point]:
    """The points for a card (None: `reason` says why there is none) and a torch."""
    if gpu is None:
        return [_without(device, scale, reason)]
    share = gpu.used_bytes / gpu.total_bytes
    value = (
        f"{gpu.used_bytes / 2**30:.1f} of {gpu.total_bytes / 2**30:.1f} GiB in use ({share:.0%})"
    )
    by = ": " + ", ".join(gpu.users) if gpu.users else ""
    memory = (
        passed("gpu memory", value)
        if share < MOST_USED_SHARE
        else warned("gpu memory", value + by, "End what is not needed (kill <pid>), or wait.")
    )
    return [passed("gpu", f"{gpu.name}, driver {gpu.driver}"), memory, _fit(gpu, torch)]


def look(index: int) -> tuple[Gpu | None, str]:
    """The card that torch would call cuda:<index>, or None and why."""
    try:
        pynvml.nvmlInit()
        handle = _handle(index)
        if handle is None:
            hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
            return None, f"CUDA_VISIBLE_DEVICES={hidden!r} hides it"
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        gpu = Gpu(
            name=_text(pynvml.nvmlDeviceGetName(handle)),
            driver=_text(pynvml.nvmlSystemGetDriverVersion()),
            driver_cuda=(cuda // 1000, cuda % 1000 // 10),
            capability=tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle)),
            used_bytes=int(memory.used),
            total_bytes=int(memory.total),
            users=_users(handle),
        )
    except pynvml.NVMLError as error:
        return None, str(error)
    return gpu, ""


def look_at_torch() -> Torch:
    """What the installed torch was built for."""
    import torch  # seconds to import: not before it is needed

    return Torch(
        version=str(torch.__version__),
        cuda=torch.version.cuda,
        architectures=tuple(torch.cuda.get_arch_list()),
        devices=torch.cuda.device_count(),
    )


def _without(device: str, scale: str, reason: str) -> Point:
    if device.startswith("cuda"):
        return failed(
            "gpu", f"train.device is {device}, but: {reason}", f"{NVIDIA_SMI}, {GO_WITHOUT}"
        )
    value = f"none ({reason}); the CPU trains"
    if scale in SMALL_SCALES:
        return warned("gpu", value, "Enough at this scale, only slower.")
    return failed("gpu", f"{value}, which takes weeks at {scale}", f"{NVIDIA_SMI}, {GO_WITHOUT}")


def _fit(gpu: Gpu, torch: Torch) -> Point:
    name = "gpu and torch"
    capability = f"{gpu.capability[0]}.{gpu.capability[1]}"
    newest = f"{gpu.driver_cuda[0]}.{gpu.driver_cuda[1]}"
    value = (
        f"torch {torch.version} (CUDA {torch.cuda}), capability {capability}, driver CUDA {newest}"
    )
    if torch.cuda is None:
        return failed(
            name,
            f"torch {torch.version} was built without CUDA",
            "python3 run.py check installs requirements.txt again",
        )
    if not runs_on(gpu.capability, torch.architectures):
        return failed(
            name,
            f"{value}; built for {' '.join(torch.architectures)}",
            "Install a torch built for this GPU: https://pytorch.org/get-started",
        )
    if torch.devices == 0:
        return failed(
            name,
            f"{value}; torch sees no device",
            "Update the driver (or reboot after an update), then: nvidia-smi",
        )
    if gpu.driver_cuda[0] < int(torch.cuda.split(".")[0]):
        return warned(name, f"{value}: an older CUDA than torch's", "Update the driver.")
    return passed(name, value)


def runs_on(capability: tuple[int, int], architectures: tuple[str, ...]) -> bool:
    """Whether code built for `architectures` (sm_90, compute_120) runs on a card.

    sm_XY runs on its own major version from minor Y on; compute_XY is compiled on the spot for
    anything newer; an a or f behind it means this very card or family.
    """
    for architecture in architectures:
        kind, _, digits = architecture.partition("_")
        number = int(digits.rstrip("af"))
        built = (number // 10, number % 10)
        if digits.endswith("a") and built != capability:
            continue
        if kind == "compute" and capability >= built:
            return True
        if kind == "sm" and capability[0] == built[0] and capability[1] >= built[1]:
            return True
    return False


def _handle(index: int) -> Any:
    """The NVML handle of torch's device `index`; None where CUDA_VISIBLE_DEVICES hides it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return pynvml.nvmlDeviceGetHandleByIndex(index)
    names = [name.strip() for name in visible.split(",") if name.strip()]
    if index >= len(names) or names[index] == "-1":
        return None
    if names[index].isdigit():
        return pynvml.nvmlDeviceGetHandleByIndex(int(names[index]))
    return pynvml.nvmlDeviceGetHandleByUUID(names[index])


def _users(handle: Any) -> tuple[str, ...]:
    users = []
    for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
        try:
            name = psutil.Process(process.pid).name()
        except psutil.Error:
            name = "a process elsewhere"
        used = process.usedGpuMemory  # None where the driver does not tell (containers)
        size = f", {used / 2**30:.1f} GiB" if used else ""
        users.append(f"{name} ({process.pid}{size})")
    return tuple(users)


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
