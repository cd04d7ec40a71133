"""Checkpoints: stable bytes, safe loading, damage noticed, one trainer at a time."""

import os
import pickle
import socket
import subprocess
import sys

import pytest
import torch

from make import bit_flips
from make.import_graph import SRC
from pillsnap.errors import CheckpointError, MachineError
from pillsnap.training import checkpoints
from pillsnap.training.checkpoints import WorkFolder

WEIGHTS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(3)}
CONFIG = {"architecture": "x", "metrics": {"top1": 0.5}, "이름": "알약"}


def test_equal_content_gives_equal_bytes(tmp_path):
    checkpoints.publish(tmp_path / "1.pt", WEIGHTS, CONFIG)
    again = {name: WEIGHTS[name].clone() for name in reversed(WEIGHTS)}
    checkpoints.publish(tmp_path / "2.pt", again, {**CONFIG, "이름": "".join(["알", "약"])})
    assert (tmp_path / "1.pt").read_bytes() == (tmp_path / "2.pt").read_bytes()


def test_published_checkpoint_comes_back_and_is_plain_torch(tmp_path):
    checkpoints.publish(tmp_path / "1.pt", WEIGHTS, CONFIG)
    weights, config = checkpoints.load_published(tmp_path / "1.pt")
    assert all(torch.equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)
    assert config["이름"] == "알약"
    assert "weights" in torch.load(tmp_path / "1.pt", weights_only=True)


def test_missing_checkpoint_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is missing"):
        checkpoints.load_published(tmp_path / "1.pt")


@pytest.mark.parametrize("region", ["weights", "configuration", "whole file"])
def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path, region):
    path = tmp_path / "1.pt"
    weights = {"a": torch.arange(64.0), "b": torch.ones(3, dtype=torch.int64)}
    checkpoints.publish(path, weights, CONFIG)
    content = path.read_bytes()
    values = weights["a"].numpy().tobytes()
    start, size, flips = {
        "weights": (content.index(values), len(values), 100),
        "configuration": (content.index(b"data.pkl"), content.index(values), 400),
        "whole file": (0, len(content), 300),  # also the zip's directory
    }[region]
    part = content[start : start + size]
    refused = 0
    for damaged in bit_flips.flipped(part, flips):
        path.write_bytes(content[:start] + damaged + content[start + size :])
        try:
            found, config = checkpoints.load_published(path)
        except CheckpointError:
            refused += 1
            continue
        assert region != "weights"
        assert config == CONFIG
        assert found.keys() == weights.keys()
        assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert refused > flips / 3


def test_a_checkpoint_whose_hash_leaves_out_the_configuration_is_refused(tmp_path):
    path = tmp_path / "1.pt"
    config = {**CONFIG, "weights_sha256": checkpoints.weights_hash(WEIGHTS)}
    torch.save({"weights": WEIGHTS, "config": config}, path)
    with pytest.raises(CheckpointError, match="did not hash the configuration") as refusal:
        checkpoints.load_published(path)
    assert refusal.value.cure.endswith("dvc repro")


def test_an_empty_file_and_a_folder_are_no_checkpoints(tmp_path):
    (tmp_path / "1.pt").touch()
    for path, words in ((tmp_path / "1.pt", "not a PillSnap checkpoint"), (tmp_path, "not a file")):
        with pytest.raises(CheckpointError, match=words):
            checkpoints.load_published(path)


class _Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_hostile_checkpoint_never_runs(tmp_path):
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(_Hostile(tmp_path / "ran")))
    with pytest.raises(CheckpointError, match="not a PillSnap checkpoint"):
        checkpoints.load_published(tmp_path / "evil.pt")
    torch.save({"weights": _Hostile(tmp_path / "ran")}, tmp_path / "evil2.pt")
    with pytest.raises(CheckpointError, match="not a PillSnap checkpoint"):
        checkpoints.load_published(tmp_path / "evil2.pt")
    assert not (tmp_path / "ran").exists()


def test_work_folder_gives_back_the_newest_state(tmp_path):
    with WorkFolder("s", "f", tmp_path) as folder:
        assert folder.load() == (None, [])
        folder.save({"epoch": 1})
        folder.save({"epoch": 2})
        assert folder.load() == ({"epoch": 2}, [])


@pytest.mark.parametrize("damage", ["cut", "flip", "zero", "empty"])
def test_damaged_newest_state_falls_back_to_the_one_before(tmp_path, damage):
    with WorkFolder("s", "f", tmp_path) as folder:
        folder.save({"epoch": 1, "weights": torch.ones(999)})
        folder.save({"epoch": 2, "weights": torch.ones(999)})
        path = folder.path / "newest.ckpt"
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        if damage == "flip":
            content[middle] ^= 4
        elif damage == "zero":
            content[middle : middle + 512] = bytes(512)
        else:
            content = content[: middle if damage == "cut" else 0]
        path.write_bytes(bytes(content))
        state, lines = folder.load()
    assert state["epoch"] == 1
    assert "damaged" in lines[0]


def test_second_trainer_is_refused_with_the_process_that_holds_the_lock(tmp_path):
    with (
        WorkFolder("s", "f", tmp_path),
        pytest.raises(MachineError, match=f"process {os.getpid()}"),
        WorkFolder("s", "f", tmp_path),
    ):
        pass


def test_lock_is_free_after_kill_9(tmp_path):
    code = (
        "import sys,time; from pathlib import Path\n"
        "from pillsnap.training.checkpoints import WorkFolder\n"
        f"with WorkFolder('s', 'f', Path({str(tmp_path)!r})):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SRC)},
    )
    assert holder.stdout.readline() == b"held\n"
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with WorkFolder("s", "f", tmp_path) as folder:
        assert folder.load() == (None, [])


def test_lock_is_not_held_by_a_forked_child(tmp_path):
    ours, childs = socket.socketpair()
    with ours, childs, WorkFolder("s", "f", tmp_path) as folder:
        child = os.fork()
        if child == 0:
            ours.close()
            childs.send(b"runs")
            childs.recv(1)  # until the test is over, however it ends
            os._exit(0)
        ours.recv(4)
        folder.__exit__()  # what a kill -9 does to the lock
        with WorkFolder("s", "f", tmp_path) as again:
            assert again.load() == (None, [])
    os.waitpid(child, 0)


def pipeline_root(tmp_path, lr=0.1, data="abc"):
    (tmp_path / "params.yaml").write_text(f"scale: demo\nlr: {lr}\nother: 1\n")
    (tmp_path / "dvc.yaml").write_text("stages: {s: {params: [lr], deps: ['${scale}']}}\n")
    (tmp_path / "demo").mkdir(exist_ok=True)
    (tmp_path / "demo" / "data.txt").write_text(data)
    return checkpoints.run_key("s", tmp_path)


def test_run_key_changes_with_parameters_and_data_only(tmp_path):
    first = pipeline_root(tmp_path)
    assert pipeline_root(tmp_path, lr=0.2) != first
    assert pipeline_root(tmp_path, data="abd") != first
    assert pipeline_root(tmp_path) == first
    text = (tmp_path / "params.yaml").read_text().replace("other: 1", "other: 2")
    (tmp_path / "params.yaml").write_text(text)
    assert checkpoints.run_key("s", tmp_path) == first


def test_run_key_of_a_code_folder_looks_at_modules_only(tmp_path):
    pipeline_root(tmp_path)
    code = tmp_path / "demo" / "room.py"
    code.write_text("a = 1")
    first = checkpoints.run_key("s", tmp_path)
    (tmp_path / "demo" / "__pycache__").mkdir()
    (tmp_path / "demo" / "__pycache__" / "room.cpython-311.pyc").write_bytes(b"1")
    (tmp_path / "demo" / ".room.py.swp").write_bytes(b"1")
    assert checkpoints.run_key("s", tmp_path) == first
    code.write_text("a = 2")
    assert checkpoints.run_key("s", tmp_path) != first
