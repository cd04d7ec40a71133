"""Diagnoses of failures that DVC and our stages really make: none recorded."""

import subprocess
import sys
import time
from contextlib import closing, nullcontext

import pytest
import yaml
import zc.lockfile

from make import photo_set, training_project
from make.import_graph import ROOT, SRC
from make.tiny_project import environment, run
from operation.test_diagnosis import FACTS, as_dvc_prints
from pillsnap.operation.diagnosis import explain

pytestmark = pytest.mark.slow

STAGE = "stages:\n  one:\n    cmd: {cmd}\n    deps: [{dep}]\n    params: [{key}]\n    outs: [out]\n"
GOOD = {"cmd": "echo 1 > out", "dep": "dep", "key": "scale"}

CASES = {  # what differs in the stage, and the command
    "dvc_dependency": ({"dep": "absent"}, "repro"),
    "dvc_yaml, a key": ({"dep": "'${no.such.key}'"}, "repro"),
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
    found = explain(done.returncode, done.stdout, FACTS)
    assert found.kind == kind.partition(",")[0], done.stdout


NO_LOCKS = """import errno, fcntl
def flock(*_): raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock"""


def test_on_a_disk_without_file_locks_the_last_cure_lets_dvc_run(tmp_path):
    run(tmp_path, "dvc", "init", "-q", "--no-scm")
    (tmp_path / "dvc.yaml").write_text("stages: {one: {cmd: echo 1 > out, outs: [out]}}")
    (tmp_path / "sitecustomize.py").write_text(NO_LOCKS)
    printed = run(tmp_path, "dvc", "repro", code=255, PYTHONPATH=str(tmp_path))
    found = explain(255, printed, FACTS)
    assert found.kind == "lock"
    run(tmp_path, "sh", "-ec", found.cures[-1])
    run(tmp_path, "dvc", "repro", PYTHONPATH=str(tmp_path))
    assert (tmp_path / "out").read_text() == "1\n"


@pytest.mark.parametrize(
    ("kind", "left"), [("git_lock", ".git/index.lock"), ("dvc_rwlock", ".dvc/tmp/rwlock")]
)
def test_after_a_killed_process_the_cures_let_dvc_run(tmp_path, kind, left):
    """Both are empty when their writer was killed; DVC stages what it wrote."""
    run(tmp_path, "git", "init", "-q")
    run(tmp_path, "dvc", "init", "-q")
    run(tmp_path, "dvc", "config", "core.autostage", "true")
    (tmp_path / "dvc.yaml").write_text("stages: {one: {cmd: echo 1 > out, outs: [out]}}")
    (tmp_path / left).parent.mkdir(exist_ok=True)
    (tmp_path / left).touch()
    found = explain(255, run(tmp_path, "dvc", "repro", code=255), FACTS)
    assert found.kind == kind
    for cure in found.cures:
        run(tmp_path, "sh", "-ec", cure)
    assert "dvc.lock" in run(tmp_path, "git", "status", "--porcelain")
    assert "up to date" in run(tmp_path, "dvc", "status")


def failed(folder, stage, process):
    """The diagnosis of a stage that runs in `folder`, from what it prints until it fails."""
    code, text = process.wait(), training_project.printed(folder)
    assert code != 0, text
    return explain(255, as_dvc_prints(text, code, stage), FACTS)


def test_a_checkpoint_above_the_largest_file_allowed_is_recognised(tmp_path):
    limited = ("sh", "-c", 'ulimit -f 100; exec "$0" "$1"', sys.executable)  # blocks of 512 bytes
    process = training_project.start(training_project.make(tmp_path), *limited)
    found = failed(tmp_path, "train_classification", process)
    assert found.kind == "disk_full"
    assert "ulimit -f" in found.cures[0]
    assert [path for path in tmp_path.rglob("*.tmp") if path.is_file()] == []


def test_photos_gone_while_validate_reads_them_are_recognised(tmp_path):
    made = photo_set.make(tmp_path, many=1200)
    (tmp_path / "artifacts/demo").mkdir()
    for path in (tmp_path / "artifacts").glob("*.csv"):
        path.rename(tmp_path / "artifacts/demo" / path.name)
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    tree["scales"]["demo"] |= made.params.at_scale.model_dump(mode="json")
    tree["data"]["root"], tree["validate"]["num_workers"] = "root", 1
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    with (tmp_path / "printed.txt").open("wb") as printed:
        process = subprocess.Popen(
            [sys.executable, SRC / "validate.py"], cwd=tmp_path, stdout=printed,
            stderr=subprocess.STDOUT, env=training_project.environment(),
        )  # fmt: skip
    while not training_project.events(tmp_path, "progress"):
        assert process.poll() is None, training_project.printed(tmp_path)
        time.sleep(0.005)
    (tmp_path / "root").rename(tmp_path / "elsewhere")
    assert failed(tmp_path, "validate", process).kind == "data_root"
    assert not (tmp_path / "artifacts/demo/rejected.csv").exists()
