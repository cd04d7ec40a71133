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


@pytest.mark.parametrize(
    ("able", "dtype"),
    [
        ({"amx_bf16": True, "avx512_bf16": True, "cpu_name": "Intel Xeon"}, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": True, "cpu_name": "Intel Xeon"}, None),
        ({"avx512_bf16": True, "cpu_name": "AMD EPYC"}, torch.bfloat16),
        ({"avx512_bf16": False, "cpu_name": "AMD EPYC"}, None),
        ({"architecture": "aarch64"}, None),
    ],
)
def test_auto_is_bf16_on_cpus_where_convolutions_are_faster_in_it(monkeypatch, able, dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert devices.autocast_dtype(CPU, "auto") is dtype


@pytest.mark.parametrize(
    ("device", "deterministic", "kernels"),
    [(GPU, True, (False, True, [True])), (GPU, False, (True, False, [False])),
     (CPU, True, (False, False, []))],
)  # fmt: skip
def test_cudnn_is_reproducible_only_where_asked_to(monkeypatch, device, deterministic, kernels):
    asked, cudnn = [], torch.backends.cudnn
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda on, **_: asked.append(on))
    monkeypatch.setattr(cudnn, "benchmark", False)
    monkeypatch.setattr(cudnn, "deterministic", False)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    devices.choose_kernels(device, deterministic)
    assert (cudnn.benchmark, cudnn.deterministic, asked) == kernels


@pytest.mark.parametrize(
    ("error", "recognised"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("cudaErrorMemoryAllocation"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublas`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError('NVML_SUCCESS == r INTERNAL ASSERT FAILED at "CUDACaching.cpp":830'), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), True),
        (RuntimeError("CUDA error: an illegal memory access"), False),
        (ValueError("out of memory"), False),
        (OSError(), False),
    ],
)
def test_running_out_of_memory_is_recognised(error, recognised):
    assert devices.out_of_memory(error) is recognised


@pytest.mark.parametrize(
    ("own", "expected"),
    [({}, "4000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_spin_briefly_unless_the_user_chooses_otherwise(own, expected):
    code = "import os, pillsnap; print(os.environ.get('GOMP_SPINCOUNT'))"
    environment = {"PYTHONPATH": str(SRC), **own}
    output = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert output.strip() == expected
