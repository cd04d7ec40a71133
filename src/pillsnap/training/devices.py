"""The device of a run, its precision and its compiler."""

import os

import torch

from pillsnap.errors import MachineError, ParameterError
from pillsnap.stage.hardware import cpu_count

COMPILE_FAILED = "torch.compile failed, the training continues without it: "
OUT_OF_MEMORY = (
    "out of memory",  # torch, CUDA
    "cudaErrorMemoryAllocation",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "NVML_SUCCESS == r INTERNAL ASSERT FAILED",  # torch's allocator, when it reports the failure
    "can't allocate memory",  # torch on a CPU
)


def choose(name: str, local_rank: int | None = None) -> torch.device:
    """The device a parameter names; several processes on a host take the GPU of their rank."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ParameterError(
            f"device is {name!r}, which torch does not know.", "Use auto, cpu, cuda or cuda:1."
        ) from None
    if device.type != "cuda":
        return device
    seen = torch.cuda.device_count()
    if local_rank is None:
        if (device.index or 0) < seen:
            return device
        raise MachineError(
            f"device is {name!r}, but torch sees {seen} CUDA devices.",
            "Set the device to auto, or check the driver: nvidia-smi",
        )
    if device.index is not None:
        raise ParameterError(
            f"train.device is {name!r}, one GPU, but train.devices asks for several processes.",
            "Set train.device to auto or cuda; CUDA_VISIBLE_DEVICES=1,2 chooses among the GPUs.",
        )
    if local_rank >= seen:
        raise MachineError(
            f"Process {local_rank + 1} on this host has no GPU of its own: torch sees {seen}.",
            f"Set train.devices to {seen} (times the number of hosts).",
        )
    return torch.device("cuda", local_rank)


def autocast_dtype(device: torch.device, mixed_precision: str) -> torch.dtype | None:
    """The dtype for autocast; None is float32.

    auto: bf16 on GPUs with native support (fp16 on older ones, which emulate it) and on CPUs where
    plain convolutions are faster in it: with AMX, or AVX512-BF16 that is not Intel's
    (docs/performance.md); float32 on other CPUs.
    """
    if mixed_precision != "auto":
        return {"bf16": torch.bfloat16, "fp16": torch.float16, "off": None}[mixed_precision]
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    able = torch.cpu.get_capabilities()
    intel = str(able.get("cpu_name", "")).startswith("Intel")
    fast = able.get("amx_bf16") or (able.get("avx512_bf16") and not intel)
    return torch.bfloat16 if fast else None


def compiles(device: torch.device, switch: str) -> bool:
    """Whether to use torch.compile: auto does on GPUs, where the first step shows if it works."""
    return switch == "on" or (switch == "auto" and device.type == "cuda")


def choose_kernels(device: torch.device, deterministic: bool) -> None:
    """Let cuDNN try which algorithms are fastest, or use reproducible ones; on a CPU all are."""
    if device.type != "cuda":
        return
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.deterministic = deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
    torch.use_deterministic_algorithms(deterministic, warn_only=True)


def out_of_memory(error: BaseException) -> bool:
    """Whether the device's memory ran out, which its libraries report in different words."""
    words = isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY)
    return words or isinstance(error, torch.OutOfMemoryError)


def loader_workers(num_workers: int | str, on_gpu: bool, trainers: int = 1) -> int:
    """Loader processes per trainer; auto leaves it one core, and loads in it on a CPU."""
    if num_workers == "auto":
        return max(0, min(8, cpu_count() // trainers - 1)) if on_gpu else 0
    return int(num_workers)


def gpu_uuid(device: torch.device) -> str | None:
    """NVML's name of a CUDA device, None for the CPU."""
    if device.type != "cuda":
        return None
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def describe(device: torch.device, processes: int = 1) -> str:
    """The device's name for reports."""
    if processes > 1:
        return f"{processes} processes, each on {describe(device)}"
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"CPU, {torch.get_num_threads()} threads"
