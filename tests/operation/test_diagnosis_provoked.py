"""Diagnoses of failures that DVC, torch, our stages and the kernel really make: none recorded."""

import os
import subprocess
import sys
import time
from contextlib import closing, nullcontext

import pytest
import torch
import yaml
import zc.lockfile

from make import photo_set, training_project
from make.import_graph import ROOT, SRC
from make.tiny_project import environment, run
from operation import test_diagnosis
from operation.test_diagnosis import FACTS, as_dvc_prints, explain_refusal
from pillsnap.errors import MachineError
from pillsnap.operation.diagnosis import explain
from pillsnap.web.listener import listen

pytestmark = pytest.mark.slow

STAGE = "stages:\n  one:\n    cmd: {cmd}\n    deps: [{dep}]\n    params: [{key}]\n    outs: [out]\n"
GOOD = {"cmd": "echo 1 > out", "dep": "dep", "key": "scale"}


CASES = {  # what differs in the stage (None: no repository), and the command
    "dvc_repository": (None, "repro"),
    "dvc_dependency": ({"dep": "absent"}, "repro"),
    "dvc_output": ({"cmd": "echo nothing"}, "repro"),
    "dvc_parameters": ({"dep": "'${no.such.key}'"}, "repro"),
    "dvc_yaml": ({"key": "[1, 2"}, "repro"),
    "git_repository": ({}, "exp run -S scale=x"),
    "lock": ({}, "repro"),
    "memory": ({"cmd": "kill -9 $$"}, "repro"),
    "environment": ({"cmd": "no_such_program"}, "repro"),
}


@pytest.mark.parametrize("kind", CASES)
def test_a_failure_that_dvc_really_has_is_recognised(tmp_path, kind):
    parts, command = CASES[kind]
    lock = nullcontext()
    if parts is not None:
        run(tmp_path, "dvc", "init", "-q", "--no-scm")
        (tmp_path / "params.yaml").write_text("scale: demo\n")
        (tmp_path / "dep").write_text("1")
        (tmp_path / "dvc.yaml").write_text(STAGE.format(**GOOD | parts))
        (tmp_path / ".dvc/tmp").mkdir(exist_ok=True)
    if kind == "lock":  # as another DVC holds it
        lock = closing(zc.lockfile.LockFile(tmp_path / ".dvc/tmp/lock"))
    with lock:
        done = subprocess.run(
            ["dvc", *command.split()], cwd=tmp_path, env=environment(tmp_path), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    assert done.returncode != 0, done.stdout
    assert explain(done.returncode, done.stdout, FACTS).kind == kind, done.stdout


MOUNTS = [
    ("permission", "mount -t tmpfs -o ro none small", "open('small/x', 'w')"),
    (
        "disk_full",
        "mount -t tmpfs -o size=1m none small",
        "open('small/x', 'wb').write(bytes(2**21))",
    ),
]


@pytest.mark.parametrize(("kind", "mount", "code"), MOUNTS)
def test_a_file_system_that_takes_no_file_is_recognised(tmp_path, kind, mount, code):
    (tmp_path / "small").mkdir()
    script = f'{mount} || exit 77; exec "$0" -c "$1"'
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, sys.executable, code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    if done.returncode == 77 or done.stderr.startswith("unshare"):
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    assert done.returncode != 0
    assert explain(255, as_dvc_prints(done.stderr, done.returncode), FACTS).kind == kind


KILLED_LOADER = """
import os
from torch.utils.data import DataLoader, IterableDataset

class Killing(IterableDataset):
    def __iter__(self):
        os.kill(os.getpid(), 9)

list(DataLoader(Killing(), num_workers=1, multiprocessing_context="fork"))
"""


def test_a_killed_loader_process_is_recognised(tmp_path):
    assert test_diagnosis.run_and_explain(KILLED_LOADER, tmp_path).kind == "memory"


def test_a_monitor_whose_port_is_taken_is_recognised():
    with listen("127.0.0.1", 0, "pillsnap monitor") as holder:
        with pytest.raises(MachineError) as refused:
            listen("127.0.0.1", holder.getsockname()[1], "pillsnap monitor")
        assert explain_refusal(refused.value, "pillsnap").kind == "port"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: nothing to provoke")
def test_a_gpu_that_is_not_there_is_recognised(monkeypatch):
    monkeypatch.delitem(os.environ, "CUDA_VISIBLE_DEVICES", raising=False)
    assert (
        test_diagnosis.raise_and_explain(lambda: torch.zeros(1, device="cuda")).kind
        == "cuda_driver"
    )


def failed(folder, stage, process):
    """The diagnosis of a stage that runs in `folder`, from what it prints until it fails."""
    code, text = process.wait(), training_project.printed(folder)
    assert code != 0, text
    return explain(255, as_dvc_prints(text, code, stage), FACTS)


def test_a_training_whose_loss_runs_away_is_recognised(tmp_path):
    process = training_project.start(training_project.make(tmp_path, lr=1e30))
    found = failed(tmp_path, "train_classification", process)
    assert found.kind == "nan"
    assert found.fact.startswith("Epoch 1 is unusable even after going back to the last checkpoint")
    assert "lower train.lr (is 1e+30)" in found.cures[0]


def test_a_checkpoint_above_the_largest_file_allowed_is_recognised(tmp_path):
    limited = ("sh", "-c", 'ulimit -f 100; exec "$0" "$1"', sys.executable)  # blocks of 512 bytes
    process = training_project.start(training_project.make(tmp_path), *limited)
    found = failed(tmp_path, "train_classification", process)
    assert found.kind == "disk_full"
    assert "ulimit -f" in found.cures[0]
    assert [path for path in tmp_path.rglob("*.tmp") if path.is_file()] == []


def photographed(folder, photos=0):
    """What the stage validate reads: drawn photos under root/, and the tables that name them."""
    made = photo_set.make(folder, many=photos)
    (folder / "artifacts/demo").mkdir()
    for path in (folder / "artifacts").glob("*.csv"):
        path.rename(folder / "artifacts/demo" / path.name)
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    tree["scales"]["demo"] |= made.settings.scale.model_dump(mode="json")
    tree["data"]["root"] = "root"
    tree["validate"]["num_workers"] = 1
    (folder / "params.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return folder


def validating(folder):
    """The stage validate as a running program."""
    with (folder / "printed.txt").open("wb") as printed:
        return subprocess.Popen(
            [sys.executable, SRC / "validate.py"], cwd=folder, stdout=printed,
            stderr=subprocess.STDOUT, env=training_project.environment(),
        )  # fmt: skip


def test_photos_gone_before_validate_begins_are_recognised(tmp_path):
    (photographed(tmp_path) / "root").rename(tmp_path / "elsewhere")
    assert failed(tmp_path, "validate", validating(tmp_path)).kind == "data_root"


def test_photos_gone_while_validate_reads_them_are_recognised(tmp_path):
    process = validating(photographed(tmp_path, photos=1200))
    while not training_project.events(tmp_path, "progress"):
        assert process.poll() is None, training_project.printed(tmp_path)
        time.sleep(0.005)
    (tmp_path / "root").rename(tmp_path / "elsewhere")
    assert failed(tmp_path, "validate", process).kind == "data_root"
    assert not (tmp_path / "artifacts/demo/rejected.csv").exists()
