"""The checklist's GPU points, for cards, drivers and builds of torch that are not here."""

from dataclasses import replace

import pytest

from make.made_project import by_name
from pillsnap.operation import check_gpu
from pillsnap.operation.check_gpu import Gpu, Torch, runs_on

CARD = Gpu("NVIDIA GeForce RTX 5080", "580.65", (13, 0), (12, 0), 1 << 30, 16 << 30, "")
BUILT = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
TORCH = Torch("2.15.0", "13.2", BUILT, ("GPU-a",))
TWO = replace(TORCH, uuids=("GPU-b", "GPU-a"))
NO_GPU = replace(TORCH, uuids=())
CARDS = {"GPU-a": CARD, "GPU-b": replace(CARD, name="B", used_bytes=15 << 30), None: CARD}


@pytest.fixture(autouse=True)
def all_visible(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def judge(torch, device="auto", count=1, **cards):
    return check_gpu.judge(torch, device, count, (CARDS | cards).get)


@pytest.mark.parametrize(
    ("torch", "device", "status"),
    [
        (NO_GPU, "auto", "pass"),
        (NO_GPU, "cuda", "fail"),
        (NO_GPU, "cuda:1", "fail"),
        (TORCH, "auto", "warn"),  # torch sees it, NVML does not
    ],
)
def test_no_gpu_is_a_failure_only_where_one_was_asked_for(torch, device, status):
    [point] = check_gpu.judge(torch, device, 1, lambda _: "no driver")
    assert (point.status, "no driver" in point.value) == (status, True)


def test_each_gpu_that_trains_is_looked_up_by_its_uuid():
    """In torch's order, which CUDA_VISIBLE_DEVICES changes and NVML does not know."""
    points = by_name(judge(TWO, count=2))
    assert points["gpu 0"].value.startswith("B, ")
    assert [points[f"gpu memory {number}"].status for number in (0, 1)] == ["warn", "pass"]
    assert judge(TWO, device="cuda:0")[0].value.startswith("B, ")


def test_more_gpus_than_are_here_are_a_failure_and_hidden_ones_are_named(monkeypatch):
    for device, count in (("auto", 3), ("cuda", 3), ("cuda:2", 1)):
        *_, last = judge(TWO, device, count)
        assert (last.status, "torch sees 2 GPUs" in last.value) == ("fail", True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES='' hides all" in judge(NO_GPU)[0].value


BUSY = replace(CARD, used_bytes=12 << 30, users="python (4711)")


@pytest.mark.parametrize(
    ("torch", "card", "name", "status", "words"),
    [
        (TORCH, CARD, "gpu", "pass", "NVIDIA GeForce RTX 5080, driver 580.65"),
        (TORCH, CARD, "gpu memory", "pass", "1.0 of 16.0 GiB in use (6%)"),
        (TORCH, CARD, "gpu and torch", "pass", "CUDA 13.2), capability 12.0, driver CUDA 13.0"),
        (TORCH, BUSY, "gpu memory", "warn", "12.0 of 16.0 GiB in use (75%): python (4711)"),
        (Torch("2.15.0+cpu", None, (), ()), CARD, "gpu and torch", "fail", "built without CUDA"),
        (replace(TORCH, architectures=("sm_80", "sm_90")), CARD, "gpu and torch", "fail",
         "built for sm_80 sm_90"),
        (NO_GPU, CARD, "gpu and torch", "fail", "sees no device"),
        (TORCH, replace(CARD, driver_cuda=(12, 8)), "gpu and torch", "warn", "an older CUDA"),
    ],
)  # fmt: skip
def test_a_card_passes_or_is_busy_or_does_not_fit_torch(torch, card, name, status, words):
    point = by_name(judge(torch, **{"GPU-a": card}))[name]
    assert (point.status, words in point.value) == (status, True)


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
