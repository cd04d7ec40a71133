"""The checklist's GPU points, for cards, drivers and builds of torch that are not here."""

from dataclasses import replace

import pytest

from make.made_project import by_name
from pillsnap.operation import check_gpu
from pillsnap.operation.check_gpu import Gpu, Torch, runs_on

CARD = Gpu("NVIDIA GeForce RTX 5080", "580.65", (13, 0), (12, 0), 1 << 30, 16 << 30, ())
BUILT = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
TORCH = Torch("2.15.0", "13.2", BUILT, ("GPU-a",))
NO_GPU = replace(TORCH, uuids=())
CARDS = {"GPU-a": CARD, "GPU-b": replace(CARD, name="B", used_bytes=15 << 30), None: CARD}


@pytest.fixture(autouse=True)
def all_visible(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def judge(torch, device="auto", count=1, **cards):
    known = CARDS | cards
    return check_gpu.judge(torch, device, count, lambda uuid: (known[uuid], ""))


def nothing(_):
    return None, "no driver"


def test_a_card_that_fits_passes_every_point():
    assert [(point.name, point.status) for point in judge(TORCH)] == [
        ("gpu", "pass"),
        ("gpu memory", "pass"),
        ("gpu and torch", "pass"),
    ]


@pytest.mark.parametrize(
    ("device", "count", "status"),
    [("auto", 1, "pass"), ("auto", 2, "pass"), ("cuda", 1, "fail"), ("cuda:1", 1, "fail")],
)
def test_no_gpu_is_a_failure_only_where_one_was_asked_for(device, count, status):
    [point] = check_gpu.judge(NO_GPU, device, count, nothing)
    assert (point.status, "no driver" in point.value) == (status, True)


def test_each_gpu_that_trains_is_looked_up_by_its_uuid():
    """In torch's order, which CUDA_VISIBLE_DEVICES changes and NVML does not know."""
    points = by_name(judge(replace(TORCH, uuids=("GPU-b", "GPU-a")), count=2))
    assert points["gpu 0"].value.startswith("B, ")
    assert points["gpu memory 0"].status == "warn"
    assert points["gpu memory 1"].status == "pass"
    [gpu, *_] = judge(replace(TORCH, uuids=("GPU-a", "GPU-b")), device="cuda:1")
    assert gpu.value.startswith("B, ")


@pytest.mark.parametrize(("device", "count"), [("auto", 3), ("cuda", 3), ("cuda:2", 1)])
def test_more_gpus_than_are_here_are_a_failure(device, count):
    *_, last = judge(replace(TORCH, uuids=("GPU-a", "GPU-b")), device, count)
    assert (last.status, "torch sees 2 GPUs" in last.value) == ("fail", True)


def test_a_hidden_gpu_is_reported_as_hidden(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    [point] = judge(NO_GPU)
    assert "CUDA_VISIBLE_DEVICES='' hides all" in point.value


def test_a_gpu_that_nvml_cannot_read_is_a_warning():
    [point] = check_gpu.judge(TORCH, "auto", 1, nothing)
    assert (point.status, "no driver" in point.value) == ("warn", True)


def test_a_busy_gpu_is_named_with_its_processes():
    busy = replace(CARD, used_bytes=12 << 30, users=("python (4711, 11.0 GiB)",))
    point = by_name(judge(TORCH, **{"GPU-a": busy}))["gpu memory"]
    assert point.status == "warn"
    assert "12.0 of 16.0 GiB in use (75%): python (4711, 11.0 GiB)" in point.value


@pytest.mark.parametrize(
    ("torch", "word"),
    [
        (Torch("2.15.0+cpu", None, (), ()), "built without CUDA"),
        (Torch("2.15.0", "13.2", ("sm_80", "sm_90"), ("GPU-a",)), "built for sm_80 sm_90"),
        (NO_GPU, "sees no device"),
    ],
)
def test_a_torch_that_cannot_use_the_card_fails(torch, word):
    point = by_name(judge(torch))["gpu and torch"]
    assert (point.status, word in point.value) == ("fail", True)


def test_a_driver_older_than_torchs_cuda_is_a_warning():
    assert judge(TORCH, **{"GPU-a": replace(CARD, driver_cuda=(12, 8))})[-1].status == "warn"


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((8, 9), ("sm_80", "sm_90"), True),
        ((12, 0), ("sm_90",), False),
        ((12, 0), ("sm_90", "compute_90"), True),
        ((7, 0), ("sm_75", "sm_80"), False),
        ((9, 0), ("sm_90a",), True),
        ((10, 3), ("sm_100a",), False),
    ],
)
def test_code_runs_on_its_own_generation_and_newer_members_of_it(capability, architectures, runs):
    assert runs_on(capability, architectures) is runs
