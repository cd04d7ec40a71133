"""Which device a run uses, and in which precision."""

import shutil
import sysconfig
from pathlib import Path

import torch

from pillsnap.errors import MachineError, ParameterError
from pillsnap.hardware import cpu_count


def choose(name: str) -> torch.device:
    """The device named by a parameter: auto takes the first GPU, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ParameterError(
            f"device is {name!r}, which torch does not know.", "Use auto, cpu, cuda or cuda:1."
        ) from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise MachineError(
            f"device is {name!r}, but torch sees {torch.cuda.device_count()} CUDA devices.",
            "Set the device to auto, or check the driver: nvidia-smi",
        )
    return device


def autocast_dtype(device: torch.device, mixed_precision: str) -> torch.dtype | None:
    """The type for autocast; None means float32.

    auto: bf16 on GPUs that compute in it (fp16 on older ones, which would emulate it) and on
    CPUs with AVX512-BF16 or AMX, where plain convolutions gain from it; other CPUs stay in float32.
    """
    if mixed_precision != "auto":
        return {"bf16": torch.bfloat16, "fp16": torch.float16, "off": None}[mixed_precision]
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else None


def compiles(device: torch.device, switch: str) -> bool:
    """Whether to torch.compile: auto does on GPUs that can; on CPUs small models lost by it."""
    return device.type == "cuda" and _has_compiler() if switch == "auto" else switch == "on"


def _has_compiler() -> bool:
    """Triton builds a C module at first use: without these the first step would fail."""
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return headers.is_file() and any(shutil.which(name) for name in ("cc", "gcc", "clang"))


def loader_workers(num_workers: int | str) -> int:
    """Loader processes: auto leaves one core to the trainer and stops at eight."""
    if num_workers == "auto":
        return max(0, min(8, cpu_count() - 1))
    return int(num_workers)


def gpu_uuid(device: torch.device) -> str | None:
    """NVML's name of a CUDA device, None for the CPU."""
    if device.type != "cuda":
        return None
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def describe(device: torch.device) -> str:
    """The device's name for reports."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"CPU, {torch.get_num_threads()} threads"
