"""Diagnoses of failures that DVC, torch, our stages and the kernel really make: none recorded."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from make import photo_set, training_project
from make.import_graph import ROOT, SRC
from make.tiny_project import environment
from operation.test_diagnosis import FACTS, as_dvc_prints, raise_and_explain, told_of
from pillsnap.errors import MachineError
from pillsnap.operation.diagnosis import Diagnosis, explain
from pillsnap.web.listener import listen

pytestmark = pytest.mark.slow

STAGE = "stages:\n  one:\n    cmd: {cmd}\n    deps: [{dep}]\n    params: [{key}]\n    outs: [out]\n"
GOOD = {"cmd": "echo 1 > out", "dep": "dep", "key": "scale"}


def without_git(folder: Path) -> None:
    """A DVC repository that git knows nothing of, with one stage that would run."""
    subprocess.run(
        ["dvc", "init", "-q", "--no-scm"], cwd=folder, env=environment(folder), check=True
    )
    (folder / "params.yaml").write_text("scale: demo\n")
    (folder / "dep").write_text("1")
    (folder / "dvc.yaml").write_text(STAGE.format(**GOOD))


def change(**parts: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        without_git(folder)
        (folder / "dvc.yaml").write_text(STAGE.format(**{**GOOD, **parts}))

    return make


def broken_yaml(folder: Path) -> None:
    without_git(folder)
    (folder / "dvc.yaml").write_text("stages: [1, 2\n")


def locked(folder: Path) -> None:
    """The lock of another DVC that runs, as DVC itself takes it."""
    without_git(folder)
    held = (
        "import sys, zc.lockfile; sys.x = zc.lockfile.LockFile('.dvc/tmp/lock'); print(); input()"
    )
    (folder / ".dvc/tmp").mkdir(exist_ok=True)
    holder = subprocess.Popen(
        [sys.executable, "-c", held], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    HOLDERS.append(holder)


HOLDERS: list["subprocess.Popen[bytes]"] = []
CASES: list[tuple[str, Callable[[Path], None], tuple[str, ...]]] = [
    ("dvc_repository", lambda folder: None, ("repro",)),
    ("dvc_dependency", change(dep="absent"), ("repro",)),
    ("dvc_output", change(cmd="echo nothing"), ("repro",)),
    ("dvc_parameters", change(dep="'${no.such.key}'"), ("repro",)),
    ("dvc_yaml", broken_yaml, ("repro",)),
    ("git_repository", without_git, ("exp", "run", "-S", "scale=x")),
    ("lock", locked, ("repro",)),
    ("memory", change(cmd="kill -9 $$"), ("repro",)),
    ("environment", change(cmd="no_such_program"), ("repro",)),
]


@pytest.mark.parametrize(("kind", "make", "command"), CASES, ids=[case[0] for case in CASES])
def test_a_failure_that_dvc_really_has_is_named(
    tmp_path: Path, kind: str, make: Callable[[Path], None], command: tuple[str, ...]
) -> None:
    make(tmp_path)
    try:
        done = subprocess.run(
            ["dvc", *command], cwd=tmp_path, env=environment(tmp_path), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    finally:
        for holder in HOLDERS:
            holder.communicate(b"\n")
        HOLDERS.clear()
    assert done.returncode != 0, done.stdout
    assert explain(done.returncode, done.stdout, FACTS).kind == kind, done.stdout


def in_own_mounts(folder: Path, mount: str, code: str) -> Diagnosis:
    """The diagnosis of a program that fails where `mount` has been done, seen by it alone."""
    script = f'{mount} || exit 77; exec "$0" -c "$1"'
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, sys.executable, code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode == 77 or done.stderr.startswith("unshare"):
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    assert done.returncode != 0
    return explain(255, as_dvc_prints(done.stdout + done.stderr, done.returncode), FACTS)


def test_a_file_system_mounted_read_only_is_named(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    found = in_own_mounts(tmp_path, "mount -t tmpfs -o ro none small", "open('small/x', 'w')")
    assert found.kind == "permission"


def test_a_monitor_whose_port_is_taken_is_named() -> None:
    with listen("127.0.0.1", 0, "pillsnap monitor") as holder:
        with pytest.raises(MachineError) as refused:
            listen("127.0.0.1", holder.getsockname()[1], "pillsnap monitor")
        assert told_of(refused.value, "pillsnap").kind == "port"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: nothing to provoke")
def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(os.environ, "CUDA_VISIBLE_DEVICES", raising=False)
    assert raise_and_explain(lambda: torch.zeros(1, device="cuda")).kind == "cuda_driver"


def failed(folder: Path, stage: str, process: "subprocess.Popen[bytes]") -> Diagnosis:
    """The diagnosis of a stage that runs in `folder`, from what it prints until it fails."""
    code, said = process.wait(), training_project.printed(folder)
    assert code != 0, said
    return explain(255, as_dvc_prints(said, code, stage), FACTS)


def test_a_training_whose_loss_runs_away_is_named(tmp_path: Path) -> None:
    process = training_project.start(training_project.make(tmp_path, lr=1e30))
    found = failed(tmp_path, "train_classification", process)
    assert found.kind == "nan"
    assert found.fact.startswith("Epoch 1 is unusable even after going back to the last checkpoint")
    assert "lower train.lr (is 1e+30)" in found.cures[0]


def test_a_checkpoint_above_the_largest_file_allowed_is_named(tmp_path: Path) -> None:
    limited = ("sh", "-c", 'ulimit -f 100; exec "$0" "$1"', sys.executable)  # blocks of 512 bytes
    process = training_project.start(training_project.make(tmp_path), *limited)
    found = failed(tmp_path, "train_classification", process)
    assert found.kind == "disk_full"
    assert "ulimit -f" in found.cures[0]
    assert [path for path in tmp_path.rglob("*.tmp") if path.is_file()] == []


def photographed(folder: Path, photos: int = 0) -> Path:
    """What the stage validate reads: drawn photos under root/, and the tables that name them."""
    made = photo_set.make(folder, many=photos)
    artifacts = folder / "artifacts"
    (artifacts / "demo").mkdir()
    for path in artifacts.glob("*.csv"):
        path.rename(artifacts / "demo" / path.name)
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    tree["scales"]["demo"] |= made.settings.scale.model_dump(mode="json")
    tree["data"]["root"] = "root"
    tree["validate"]["num_workers"] = 1
    (folder / "params.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return folder


def validating(folder: Path) -> "subprocess.Popen[bytes]":
    """The stage validate as a running program."""
    with (folder / "said.txt").open("wb") as said:
        return subprocess.Popen(
            [sys.executable, SRC / "validate.py"], cwd=folder, stdout=said,
            stderr=subprocess.STDOUT, env=training_project.environment(),
        )  # fmt: skip


def test_photos_gone_before_validate_begins_are_named(tmp_path: Path) -> None:
    (photographed(tmp_path) / "root").rename(tmp_path / "elsewhere")
    assert failed(tmp_path, "validate", validating(tmp_path)).kind == "data_root"


def test_photos_gone_while_validate_reads_them_are_named(tmp_path: Path) -> None:
    process = validating(photographed(tmp_path, photos=1200))
    while not training_project.events(tmp_path, "progress"):
        assert process.poll() is None, training_project.printed(tmp_path)
        time.sleep(0.005)
    (tmp_path / "root").rename(tmp_path / "elsewhere")
    assert failed(tmp_path, "validate", process).kind == "data_root"
    assert not (tmp_path / "artifacts/demo/rejected.csv").exists()
