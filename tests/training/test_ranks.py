import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
import torch

from make import shared_step, training_project
from pillsnap.classification.batches import EpochBatches
from pillsnap.errors import MachineError, ParameterError
from pillsnap.training import devices, ranks
from pillsnap.training.ranks import ALONE, Ranks


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_parts_are_the_whole_batch_in_order_and_never_one_sample(world_size):
    for count in range(2, 40):
        parts = [range(count)[Ranks(rank, world_size).part(count)] for rank in range(world_size)]
        assert list(chain(*parts)) == list(range(count))
        assert 1 not in map(len, parts)


def order(world_size):
    ranks_ = [Ranks(rank, world_size) for rank in range(world_size)]
    samplers, batches = [EpochBatches(37, 8, 5, True, 2, one) for one in ranks_], []
    for epoch in range(3):
        for sampler in samplers:
            sampler.epoch = epoch
        batches += [list(chain(*parts)) for parts in zip(*samplers, strict=True)]
    return batches


def test_the_global_order_is_that_of_one_process():
    assert order(2) == order(3) == order(1)
    batches = EpochBatches(37, 8, 5, True)
    assert [batches.size(step) for step in range(batches.steps)] == [len(b) for b in batches]


@pytest.mark.parametrize(
    ("agent", "devices_", "error", "words"),
    [
        ({}, 1, ParameterError, r"train\.devices is 1, but torchrun started 2"),
        ({"TORCHELASTIC_RUN_ID": "pills"}, 2, MachineError, f"export {ranks.OWN_STORE}=1"),
    ],
    ids=["another number of processes", "one store for all starts"],
)
def test_a_start_that_cannot_work_is_refused(monkeypatch, agent, devices_, error, words):
    started = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    monkeypatch.delenv(ranks.OWN_STORE, raising=False)
    for name, value in (started | agent).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(error, match=words):
        ranks.joined(devices_, torch.device("cpu")).__enter__()


def test_several_processes_need_a_gpu_each(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.choose("auto", 1) == torch.device("cuda", 1)
    with pytest.raises(MachineError, match=r"Set train\.devices to 2"):
        devices.choose("auto", 2)
    with pytest.raises(ParameterError, match="CUDA_VISIBLE_DEVICES"):
        devices.choose("cuda:1", 0)


@pytest.mark.slow
def test_shared_gradients_are_those_of_the_whole_batch(tmp_path):
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
        "--local-addr=127.0.0.1", str(Path(shared_step.__file__)), str(tmp_path),
    ]  # fmt: skip
    store = {ranks.OWN_STORE: "1"}
    subprocess.run(command, check=True, env=training_project.environment(**store), timeout=120)
    whole = shared_step.step(ALONE)
    for rank in (0, 1):
        shared = torch.load(tmp_path / f"{rank}.pt")
        for name, value in whole.items():
            torch.testing.assert_close(shared[name], value)
