import os
import pickle
import shutil
import socket
import subprocess
import sys

import pytest
import torch

from make import bit_flips
from make.hostile import Hostile
from make.import_graph import SRC
from pillsnap.errors import CheckpointError, MachineError
from pillsnap.training import checkpoints
from pillsnap.training.checkpoints import WorkFolder
from pillsnap.training.session import run_key

WEIGHTS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(3)}
CONFIG = {"architecture": "x", "metrics": {"top1": 0.5}, "이름": "알약"}


@pytest.fixture
def folder(tmp_path):
    with WorkFolder("s", "f", tmp_path) as opened:
        yield opened


def save(folder, epoch, **state):
    folder.save({"epoch": epoch, **state})
    folder.flush()


def best(epoch):
    return {"epoch": epoch, "weights": {"w": torch.full((9,), float(epoch))}}


def test_a_published_checkpoint_comes_back_is_plain_torch_and_has_stable_bytes(tmp_path):
    checkpoints.publish(tmp_path / "1.pt", WEIGHTS, CONFIG)
    again = {name: WEIGHTS[name].clone() for name in reversed(WEIGHTS)}
    checkpoints.publish(tmp_path / "2.pt", again, {**CONFIG, "이름": "".join(["알", "약"])})
    assert (tmp_path / "1.pt").read_bytes() == (tmp_path / "2.pt").read_bytes()
    weights, config = checkpoints.load_published(tmp_path / "1.pt")
    assert all(torch.equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)
    assert config["이름"] == "알약"
    assert "weights" in torch.load(tmp_path / "1.pt", weights_only=True)


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


def test_what_is_no_checkpoint_is_refused_and_never_runs(tmp_path):
    hostile = Hostile(tmp_path / "ran")
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(hostile))
    torch.save({"weights": hostile}, tmp_path / "evil2.pt")
    (tmp_path / "empty.pt").touch()
    refusals = dict.fromkeys(("evil.pt", "evil2.pt", "empty.pt"), "not a PillSnap checkpoint")
    for name, words in (refusals | {"": "not a file", "2.pt": "is missing"}).items():
        with pytest.raises(CheckpointError, match=words):
            checkpoints.load_published(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content, middle: content[:middle],
        lambda content, middle: b"",
        lambda content, middle: content[:middle] + bytes(512) + content[middle + 512 :],
        lambda content, _: next(bit_flips.flipped(content, 1)),
    ],
    ids=["cut", "empty", "zeros", "flipped bit"],
)
def test_damaged_newest_state_falls_back_to_the_one_before(folder, damage):
    save(folder, 1, weights=torch.ones(999))
    save(folder, 2, weights=torch.ones(999))
    path = folder.path / "newest.ckpt"
    content = path.read_bytes()
    path.write_bytes(damage(content, len(content) // 2))
    state, lines = folder.load()
    assert state["epoch"] == 1
    assert "damaged" in lines[0]


def test_a_saved_state_does_not_follow_the_model(folder):
    weights, history = torch.ones(9), [{"loss": 1.0}]
    folder.save({"weights": weights, "history": history})
    weights.zero_()
    history[0]["loss"] = history.append({"loss": 2.0})
    state, _ = folder.load()
    assert state["weights"].sum() == 9
    assert state["history"] == [{"loss": 1.0}]


def test_the_best_weights_are_written_when_they_change_only(folder):
    def saved(epoch, best_epoch):
        save(folder, epoch, best=best(best_epoch))
        return {path.name: path.stat().st_ino for path in folder.path.glob("best-*.ckpt")}

    assert saved(1, 1) == saved(2, 1) != {}
    assert set(saved(3, 3)) == {"best-1.ckpt", "best-3.ckpt"}  # the previous state's, the newest's
    assert set(saved(4, 3)) == {"best-3.ckpt"}
    state, damaged = folder.load()
    assert (state["epoch"], state["best"]["weights"]["w"][0], damaged) == (4, 3, [])


def test_damaged_best_weights_fall_back_to_the_state_before(tmp_path):
    with WorkFolder("s", "f", tmp_path) as folder:
        save(folder, 1, best=best(1))
        save(folder, 2, best=best(2))
        (folder.path / "best-2.ckpt").write_bytes(b"")
    with WorkFolder("s", "f", tmp_path) as folder:
        state, damaged = folder.load()
        assert (state["epoch"], state["best"]["weights"]["w"][0], len(damaged)) == (1, 1, 1)
        save(folder, 2, best=best(2))  # in the place of the damaged state
        state, damaged = folder.load()
    assert (state["epoch"], state["best"]["weights"]["w"][0], damaged) == (2, 2, [])


def test_an_error_of_the_writing_thread_is_raised_in_the_trainer(folder):
    save(folder, 1)
    shutil.rmtree(folder.path)
    folder.path.write_bytes(b"")
    with pytest.raises(FileExistsError):
        save(folder, 2)
    folder.flush()  # once


SAVES = """
import sys
from pathlib import Path
import torch
from pillsnap.training.checkpoints import WorkFolder
with WorkFolder("s", "f", Path(sys.argv[1])) as folder:
    for epoch in range(1, 10000):
        last = epoch // 2 * 2
        best = {"epoch": last, "weights": {"w": torch.full((50_000,), float(last))}}
        folder.save({"epoch": epoch, "model": torch.full((200_000,), float(epoch)), "best": best})
        print(epoch, flush=True)
"""


@pytest.mark.parametrize(
    "after", [3, *(pytest.param(saves, marks=pytest.mark.slow) for saves in range(4, 11))]
)
def test_kill_9_while_a_state_is_written_leaves_a_whole_one_and_a_free_lock(tmp_path, after):
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    command = [sys.executable, "-c", SAVES, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as saver:
        for _ in range(after):
            saver.stdout.readline()  # a state is copied and, from here on, written
        saver.kill()
    with WorkFolder("s", "f", tmp_path) as folder:
        state, damaged = folder.load()
    assert damaged == []
    assert state["epoch"] >= after - 2
    assert (state["model"] == state["epoch"]).all()
    assert (state["best"]["weights"]["w"] == state["epoch"] // 2 * 2).all()


def test_second_trainer_is_refused_and_no_forked_child_holds_the_lock(folder, tmp_path):
    with pytest.raises(MachineError, match=f"process {os.getpid()}"):
        WorkFolder("s", "f", tmp_path).__enter__()
    own, childs = socket.socketpair()
    with own, childs:
        child = os.fork()
        if child == 0:
            own.close()
            childs.send(b"runs")
            childs.recv(1)  # until the test is over, however it ends
            os._exit(0)
        own.recv(4)
        folder.__exit__()  # what a kill -9 does to the lock
        with WorkFolder("s", "f", tmp_path) as again:
            assert again.load() == (None, [])
    os.waitpid(child, 0)


def test_run_key_changes_with_parameters_data_and_modules_only(tmp_path):
    def key(lr=0.1, other=1, **written):
        (tmp_path / "params.yaml").write_text(f"scale: demo\nlr: {lr}\nother: {other}\n")
        for name, text in {"room.py": "a = 1", "1.txt": "abc", **written}.items():
            path = tmp_path / ("data" if name.endswith(".txt") else "demo") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return run_key("s", tmp_path)

    (tmp_path / "dvc.yaml").write_text("stages: {s: {params: [lr], deps: ['${scale}', data]}}\n")
    first = key()
    for changed in ({"lr": 0.2}, {"room.py": "a = 2"}, {"1.txt": "abd"}):
        assert key(**changed) != first
        assert key() == first
    for irrelevant in ({"other": 2}, {"__pycache__/room.pyc": "1"}, {".room.py.swp": "1"}):
        assert key(**irrelevant) == first
