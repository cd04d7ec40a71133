"""Checklist: the GPUs that train, who uses them, and whether this torch can."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pynvml

from pillsnap.operation.point import Point, failed, passed, warned
from pillsnap.params import Params

MOST_USED_SHARE = 0.20  # of the GPU's memory, before we start
NVIDIA_SMI = "nvidia-smi  # if it fails: install the driver, or set train.device: cpu"
FEWER = "dvc exp run -S train.device=auto -S train.devices=1  # or one torchrun a host: "
FEWER += "docs/scaling.md"


@dataclass(frozen=True)
class Gpu:
    """The card as the driver sees it; capability and CUDA as (major, minor)."""

    name: str
    driver: str
    driver_cuda: tuple[int, int]  # the newest it knows
    capability: tuple[int, int]
    used_bytes: int
    total_bytes: int
    users: str


@dataclass(frozen=True)
class Torch:
    """torch as it was built, and the UUIDs of the devices it sees, in its order."""

    version: str
    cuda: str | None
    architectures: tuple[str, ...]
    uuids: tuple[str, ...]


def check(params: Params, _root: Path) -> list[Point]:
    """Points `gpu`, and of each GPU that trains also `gpu memory` and `gpu and torch`."""
    device, count = params.train.device, params.train.devices
    if device == "cpu":
        return [passed("gpu", "not asked for (train.device is cpu)")]
    return judge(look_at_torch(), device, count, look)


def judge(
    torch: Torch, device: str, count: int, look_at: Callable[[str | None], Gpu | str]
) -> list[Point]:
    """The points for `train.device` and `train.devices` with this torch."""
    index = device.partition(":")[2]
    indices = [int(index)] if index else list(range(count))
    if not torch.uuids:
        gpu, hidden = look_at(None), os.environ.get("CUDA_VISIBLE_DEVICES")
        if isinstance(gpu, str) or (hidden is not None and torch.cuda):
            reason = gpu if isinstance(gpu, str) else f"CUDA_VISIBLE_DEVICES={hidden!r} hides all"
            if device != "auto":
                return [failed("gpu", f"train.device is {device}, but: {reason}", NVIDIA_SMI)]
            return [passed("gpu", f"none ({reason}); processes that train on the CPU: {count}")]
        return _points(gpu, torch, "")
    points: list[Point] = []
    for number in indices:
        if number >= len(torch.uuids):
            asked = f"train.device is {device}" if index else f"train.devices is {count}"
            value = f"{asked}, but torch sees {len(torch.uuids)} GPUs here"
            return [*points, failed("gpu", value, FEWER)]
        gpu = look_at(torch.uuids[number])
        suffix = f" {number}" if len(indices) > 1 else ""
        if isinstance(gpu, str):
            unread = f"torch sees it, but the driver's NVML does not: {gpu}"
            points.append(warned(f"gpu{suffix}", unread, NVIDIA_SMI))
        else:
            points += _points(gpu, torch, suffix)
    return points


def look(uuid: str | None) -> Gpu | str:
    """The GPU of this UUID (None: the driver's first), or the reason why it cannot be read; NVML
    neither knows CUDA_VISIBLE_DEVICES nor counts in CUDA's order."""
    try:
        pynvml.nvmlInit()
        handle = _handle(uuid)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        return Gpu(
            name=pynvml.nvmlDeviceGetName(handle),
            driver=pynvml.nvmlSystemGetDriverVersion(),
            driver_cuda=(cuda // 1000, cuda % 1000 // 10),
            capability=tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle)),
            used_bytes=int(memory.used),
            total_bytes=int(memory.total),
            users=_users(handle),
        )
    except pynvml.NVMLError as error:
        return str(error)


def look_at_torch() -> Torch:
    """What the installed torch was built for, and what it sees."""
    import torch  # seconds to import: not before it is needed

    from pillsnap.training import devices

    seen = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    return Torch(
        version=str(torch.__version__),
        cuda=torch.version.cuda,
        architectures=tuple(torch.cuda.get_arch_list()),
        uuids=tuple(str(devices.gpu_uuid(device)) for device in seen if torch.cuda.is_available()),
    )


def _points(gpu: Gpu, torch: Torch, suffix: str) -> list[Point]:
    share, name = gpu.used_bytes / gpu.total_bytes, f"gpu memory{suffix}"
    used, total = (count / 2**30 for count in (gpu.used_bytes, gpu.total_bytes))
    memory = passed(name, f"{used:.1f} of {total:.1f} GiB in use ({share:.0%})")
    if share >= MOST_USED_SHARE:
        value = ": ".join(filter(None, (memory.value, gpu.users)))
        memory = warned(name, value, "End what is not needed (kill <pid>), or wait.")
    here = passed(f"gpu{suffix}", f"{gpu.name}, driver {gpu.driver}")
    return [here, memory, _fit(gpu, torch, f"gpu and torch{suffix}")]


def _fit(gpu: Gpu, torch: Torch, name: str) -> Point:
    capability, newest = (".".join(map(str, pair)) for pair in (gpu.capability, gpu.driver_cuda))
    if torch.cuda is None:
        value = f"torch {torch.version} was built without CUDA"
        return failed(name, value, "rm -r .venv && python3 run.py check  # without --cpu")
    value = f"torch {torch.version} (CUDA {torch.cuda}), capability {capability}, "
    value += f"driver CUDA {newest}"
    if not runs_on(gpu.capability, torch.architectures):
        value += f"; built for {' '.join(torch.architectures)}"
        cure = "Install a torch built for this GPU: https://pytorch.org/get-started"
        return failed(name, value, cure)
    if not torch.uuids:
        cure = "Update the driver (or reboot after an update), then: nvidia-smi"
        return failed(name, f"{value}; torch sees no device", cure)
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
        built = divmod(int(digits.rstrip("af")), 10)
        newer = capability >= built and (kind == "compute" or capability[0] == built[0])
        if capability == built if digits.endswith("a") else newer:
            return True
    return False


def _handle(uuid: str | None) -> Any:
    """The NVML handle of a UUID as CUDA gives it; a part of a GPU (MIG) has another prefix."""
    if uuid is None:
        return pynvml.nvmlDeviceGetHandleByIndex(0)
    try:
        return pynvml.nvmlDeviceGetHandleByUUID(uuid)
    except pynvml.NVMLError:
        return pynvml.nvmlDeviceGetHandleByUUID(uuid.replace("GPU-", "MIG-", 1))


def _users(handle: Any) -> str:
    """Names and ids of the processes on the GPU; those of other containers have no name here."""
    with suppress(pynvml.NVMLError):  # not for a part of a GPU
        pids = [one.pid for one in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)]
        names = {one.pid: one.name() for one in psutil.process_iter() if one.pid in pids}
        return ", ".join(f"{names.get(pid, 'a process elsewhere')} ({pid})" for pid in pids)
    return ""
