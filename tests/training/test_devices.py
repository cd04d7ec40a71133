"""The device: when to compile, which kernels, what running out of memory looks like."""

import subprocess
import sys

import pytest
import torch

from make.import_graph import SRC
from pillsnap.training import devices

GPU, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.mark.parametrize(
    ("device", "switch", "compiles"),
    [(GPU, "auto", True), (CPU, "auto", False), (CPU, "on", True), (GPU, "off", False)],
)
def test_auto_compiles_on_a_gpu_only(device, switch, compiles):
    assert devices.compiles(device, switch) is compiles


@pytest.fixture
def kernels(monkeypatch):
    """The switches as they are set, put back afterwards."""
    asked = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda on, **_: asked.append(on))
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    return asked


@pytest.mark.parametrize("deterministic", [True, False])
def test_cudnn_tries_algorithms_unless_results_must_be_reproducible(kernels, deterministic):
    devices.choose_kernels(GPU, deterministic)
    cudnn = torch.backends.cudnn
    assert (cudnn.benchmark, cudnn.deterministic) == (not deterministic, deterministic)
    assert kernels == [deterministic]


def test_on_a_cpu_no_kernel_is_chosen(kernels):
    devices.choose_kernels(CPU, True)
    assert (torch.backends.cudnn.deterministic, kernels) == (False, [])


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cudaErrorMemoryAllocation"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError('NVML_SUCCESS == r INTERNAL ASSERT FAILED at "CUDACachingAllocator.cpp":830'),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_running_out_of_memory_is_recognised(error):
    assert devices.out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("CUDA error: an illegal memory access"), ValueError("out of memory"), OSError()],
)
def test_other_errors_are_not_taken_for_it(error):
    assert not devices.out_of_memory(error)


@pytest.mark.parametrize(
    ("own", "expected"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_spin_briefly_unless_the_user_chooses_otherwise(own, expected):
    code = "import os, pillsnap; print(os.environ.get('GOMP_SPINCOUNT'))"
    environment = {"PYTHONPATH": str(SRC), **own}
    output = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert output.strip() == expected
