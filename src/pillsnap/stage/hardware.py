"""Samples CPU, RAM, disk and the NVIDIA GPU, if any, once a second.

DVCLive's own monitor divides memory by utilisation and logs nothing without a GPU (3.49), hence
this one. `pynvml` is NVIDIA's own binding (package nvidia-ml-py).
"""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil
import pynvml

from pillsnap.stage import cgroup

Sample = dict[str, float | str]


class GpuReader:
    """Reads one GPU through NVML; `read` gives {} on a machine without one.

    NVML ignores CUDA_VISIBLE_DEVICES and counts all GPUs of the machine: name one by its UUID.
    """

    def __init__(self, uuid: str | None = None) -> None:
        self._handle = None
        try:
            pynvml.nvmlInit()
            if uuid is None:
                self._handle = pynvml.nvmlDeviceGetHandleByIndex(0)
            else:
                self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        except pynvml.NVMLError:
            pass  # no driver, no library or no such GPU: there is nothing to read

    def read(self) -> Sample:
        """Name, utilisation in percent, memory in MB, temperature in deg C, power in W."""
        if self._handle is None:
            return {}
        sample: Sample = {}
        memory = pynvml.nvmlDeviceGetMemoryInfo
        readings: dict[str, Callable[[], float | str]] = {
            "gpu_name": lambda: pynvml.nvmlDeviceGetName(self._handle),
            "gpu_memory_used_mb": lambda: round(memory(self._handle).used / 2**20, 1),
            "gpu_memory_total_mb": lambda: round(memory(self._handle).total / 2**20, 1),
            "gpu_util_pct": lambda: pynvml.nvmlDeviceGetUtilizationRates(self._handle).gpu,
            "gpu_temperature_c": lambda: pynvml.nvmlDeviceGetTemperature(
                self._handle, pynvml.NVML_TEMPERATURE_GPU
            ),
            "gpu_power_w": lambda: pynvml.nvmlDeviceGetPowerUsage(self._handle) / 1000,
        }
        for key, reading in readings.items():
            try:
                value = reading()
                sample[key] = value if isinstance(value, str) else float(value)
            except pynvml.NVMLError:
                continue  # unsupported, or the GPU is lost: leave the key out, never write 0
        return sample


class HardwareSampler:
    """A thread that samples once a second; use as a context manager."""

    def __init__(self, disk_path: Path, period_s: float = 1.0) -> None:
        self._disk_path = disk_path
        self._period_s = period_s
        self._gpu = GpuReader()
        self._lock = threading.Lock()
        self._since: list[Sample] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="hardware", daemon=True)
        psutil.cpu_percent()  # the first call only sets the starting point of the next
        self._newest = self._read()

    def __enter__(self) -> "HardwareSampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def follow(self, uuid: str) -> None:
        """Read the GPU of this UUID from now on."""
        self._gpu = GpuReader(uuid)

    def newest(self) -> Sample:
        """The last sample."""
        with self._lock:
            return dict(self._newest)

    def mean(self) -> Sample:
        """Mean of the samples since the last call (the newest one if there were none)."""
        with self._lock:
            samples, self._since = self._since or [self._newest], []
        return mean_of(samples)

    def _work(self) -> None:
        while not self._stop.wait(self._period_s):
            sample = self._read()
            with self._lock:
                self._newest = sample
                self._since.append(sample)

    def _read(self) -> Sample:
        memory = memory_bytes()
        return {
            "cpu_pct": psutil.cpu_percent(),
            "ram_used_mb": round((memory.total - memory.free) / 2**20, 1),
            "ram_total_mb": round(memory.total / 2**20, 1),
            "disk_free_gb": round(shutil.disk_usage(self._disk_path).free / 1e9, 2),
            **self._gpu.read(),
        }


def cpu_count() -> int:
    """Cores this process may use, by its affinity and its control group's quota."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = cgroup.cores()
    return cores if quota is None else max(1, min(cores, int(quota)))


class Memory(NamedTuple):
    """Bytes of RAM in all, and those that can still be allocated."""

    total: int
    free: int


def memory_bytes() -> Memory:
    """The RAM of this machine, or of the control group where that has less."""
    machine, limit = psutil.virtual_memory(), cgroup.memory()
    if limit is None or limit[0] >= machine.total:
        return Memory(machine.total, machine.available)
    return Memory(limit[0], min(limit[1], machine.available))


def mean_of(samples: list[Sample]) -> Sample:
    """Key-wise mean; text keeps its last value."""
    mean: Sample = {}
    for key in {key: None for sample in samples for key in sample}:
        values = [sample[key] for sample in samples if key in sample]
        numbers = [value for value in values if not isinstance(value, str)]
        mean[key] = round(sum(numbers) / len(numbers), 2) if numbers else values[-1]
    return mean
