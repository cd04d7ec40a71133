"""`pillsnap train` with a fake `dvc`: what it starts, prints, writes, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
import torch

from make.made_project import make_dvc, make_git
from operation.test_process import members
from pillsnap import files
from pillsnap.formats import fingerprint
from pillsnap.operation import check_models, preflight, train
from pillsnap.training import checkpoints

PYTHON = sys.executable  # `project` puts another in its place

# A dvc whose `status` prints what the test wrote; anything else is recorded, then acted out.
FAKE = """
import json, os, sys, time, pathlib
if sys.argv[1] == "status":
    print(pathlib.Path("status.json").read_text())
    sys.exit(0)
names = ["PATH", "PILLSNAP_LOG_LEVEL", "PILLSNAP_CONSOLE"]
call = {"argv": sys.argv[1:], "env": {name: os.environ.get(name) for name in names}}
pathlib.Path("called.json").write_text(json.dumps(call))

def event(message, level="INFO", stage="train_classification", kind="log", time_s=None):
    path = pathlib.Path("artifacts/demo/live/events.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    line = {"time": time_s or time.time(), "stage": stage, "kind": kind, "level": level}
    with path.open("a") as file:
        file.write(json.dumps({**line, "message": message}) + chr(10))

exec(pathlib.Path("act.py").read_text())
"""
STARTS_STAGE = r"""
print("Running stage 'train_classification':\n> python src/train_classification.py")
"""
GOES_WELL = rf"""{STARTS_STAGE}
sys.stderr.write("  0%|   |\r 50%|=  |\r100%|===|\n")
event("an earlier run", time_s=1e9)
event("step 1", "DEBUG")
event("half way", kind="progress")
event("알약 [1/2]", "WARNING", "evaluate")
"""
FAILS = rf"""{STARTS_STAGE}
print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB")
print("ERROR: failed to reproduce 'train_classification': failed to run: x, exited with 1")
sys.exit(255)
"""


@pytest.fixture
def project(project, tmp_path, monkeypatch):
    quick = [check for check in preflight.CHECKS if check is not check_models.training_time]
    monkeypatch.setattr(preflight, "CHECKS", quick)
    monkeypatch.setattr(sys, "executable", str(make_dvc(tmp_path / "bin", FAKE)))
    (project / "status.json").write_text("{}")
    (project / "act.py").write_text(GOES_WELL)
    return project


@pytest.fixture
def start(project, capsys):
    """Runs `pillsnap train`; its exit code and what it printed, in one line."""

    def run(wanted=(), **options):
        code = train.train(dict(wanted), **options)
        return code, " ".join(capsys.readouterr().out.split())

    return run


def called(project):
    return json.loads((project / "called.json").read_text())


def the_log(project):
    [path] = (project / "logs").iterdir()
    return path.read_text("utf-8")


def test_without_changes_the_pipeline_is_reproduced(project, start):
    same = {"scale": "demo", "train.epochs": 18, "train.batch_size": 32, "train.lr": 3e-3}
    assert start(same, log_level="DEBUG")[0] == 0
    call = called(project)
    assert call["argv"] == ["repro"]
    path = call["env"].pop("PATH")
    assert path.startswith(str(Path(sys.executable).parent) + os.pathsep)
    assert call["env"] == {"PILLSNAP_LOG_LEVEL": "DEBUG", "PILLSNAP_CONSOLE": "off"}
    taken = fingerprint.read(project / fingerprint.path_of("demo"))
    assert (taken.count, taken.bytes) == (3, 120_000)


OTHER_CLASSES = {"kind": "classification", "class_table_hash": "0" * 64}


@pytest.mark.parametrize(
    ("wanted", "weights", "words"),
    [
        ({"train.epochs": 2}, None, "git init"),  # no experiment without git
        ({"scale": "stage3"}, None, "Nothing was started"),  # a failed point
        ({"scale": "stage9"}, None, "known scales are demo, stage1"),
        ({}, "absent.pt", "absent.pt is "),
        ({}, "params.yaml", "params.yaml is "),
        ({}, OTHER_CLASSES, "another class table"),
        ({}, {"kind": "detection"}, "not a classifier"),
    ],
)
def test_a_refusal_comes_before_anything_runs_or_is_copied(project, start, wanted, weights, words):
    files.write_text(project / "artifacts/demo/classes.csv", "class_index\n")
    path = Path(weights) if isinstance(weights, str) else None
    if isinstance(weights, dict):
        path = project / "mine.pt"
        checkpoints.publish(path, {"w": torch.zeros(2)}, weights)
    code, printed = start(wanted, checkpoint=path)
    assert (code, words in printed) == (1, True), printed
    assert not (project / "called.json").exists()
    assert not (project / ".checkpoints/start").exists()


def test_log_lines_come_from_events_and_other_lines_from_dvc(project, start):
    _, printed = start()
    log = the_log(project)
    for line in ("DEBUG   train_classification  step 1", "WARNING evaluate  알약 [1/2]"):
        assert (log.count(line), printed.count(" ".join(line.split()))) == (1, 1)
    assert "INFO    train  warn  gpu" in log or "INFO    train  pass  gpu" in log
    assert "INFO    dvc  Running stage 'train_classification':" in log
    assert "INFO    dvc  100%|===|" in log
    assert not any(word in log + printed for word in ("an earlier run", "half way", "\r"))


def test_a_log_line_is_not_taken_for_the_cause_of_a_failure(project, start):
    (project / "act.py").write_text("event('CUDA out of memory: redone', 'WARNING')\nsys.exit(1)")
    code, printed = start()
    assert (code, "This failure is not one of the known ones." in printed) == (1, True)


def test_what_is_out_of_date_is_shown_before_it_runs(project, start):
    changed = {f"train.{name}": "modified" for name in "abcde"}
    status = {
        "evaluate": ["changed command", {"changed outs": {"artifacts/x": "deleted"}}],
        "train_classification": [{"changed deps": {"src/a": "modified", "params.yaml": changed}}],
    }
    (project / "status.json").write_text(f"a line that git wrote\n{json.dumps(status)}")
    _, printed = start()
    assert "up to date build_manifest up to date validate" in printed
    assert "out of date evaluate changed command, artifacts/x deleted" in printed
    assert re.search("train_classification.* src/a modified, .* and 3 more", printed)


def test_a_failed_experiment_is_explained_and_says_how_to_go_back(project, start):
    make_git(project)
    (project / "act.py").write_text(FAILS)
    code, printed = start({"train.epochs": 2, "train.lr": 1e-3})
    settings = ["-S", "train.epochs=2", "-S", "train.lr=0.001"]
    assert (code, called(project)["argv"]) == (1, ["exp", "run", *settings])
    assert "pillsnap train --batch-size 16 --detection-batch-size 8" in printed
    assert "ERROR   train  The GPU ran out of memory." in the_log(project)
    assert re.search("keeps train.epochs, train.lr .* params.yaml: pillsnap train --back", printed)


def test_a_lock_of_dvc_is_explained_before_anything_runs(project, start):
    text = "ERROR: Unable to acquire lock. Most likely another DVC process is running"
    program = Path(sys.executable).with_name("dvc")
    program.write_text(f"#!{Path(PYTHON).resolve()}\nraise SystemExit({text!r})")
    code, printed = start()
    assert (code, "Another run holds the lock." in printed) == (1, True)


def test_the_metrics_are_shown_at_the_end(project, start):
    metrics = {"classification": {"top1": 0.9712}, "detection": {"map50": None}}
    files.write_json(project / "artifacts/demo/metrics.json", metrics)
    assert re.search("classification.top1 . 0.9712 .* detection.map50 . - ", start()[1])


def test_an_unfinished_training_is_resumed_or_removed_alone_and_not_while_it_runs(project, start):
    other = project / ".checkpoints/yolo11s.pt"
    with checkpoints.WorkFolder("train_detection", "ab", project / ".checkpoints") as folder:
        folder.save({"history": [{}, {}, {}]})
        other.touch()
        assert start(resume=False)[0] == 1
        assert folder.path.exists()
    for resume in (True, False):
        shown = "train_detection: interrupted after 3 complete epochs" in start(resume=resume)[1]
        assert (shown, folder.path.exists(), other.exists()) == (resume, resume, True)


def test_a_checkpoint_becomes_the_weights_of_the_scale(project, start):
    make_git(project)
    path = project / "mine.pt"
    weights = timm.create_model("test_resnet", num_classes=24).state_dict()
    checkpoints.publish(path, weights, {"kind": "classification"})
    assert start(checkpoint=path)[0] == 0
    key, copy = called(project)["argv"][-1].split("=")
    assert key == "scales.demo.classifier_weights"
    assert copy.startswith(".checkpoints/start/")  # a copy: DVC deletes outs before a stage runs
    assert (project / copy).read_bytes() == path.read_bytes()


STARTS = """
import sys
from pillsnap.operation import train
sys.executable = sys.argv[1]
sys.exit(train.train({}))
"""
TRAINS = r"""
import subprocess, signal
trainer = subprocess.Popen([sys.executable, "trainer.py"])
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as dvc does while a stage runs
sys.exit(1 if trainer.wait() else 0)
"""
TRAINER = r"""
import os, pathlib, signal, sys
def save(*_):
    pathlib.Path("saved").touch()
    {end}
signal.signal(signal.SIGINT, save)
print("session", os.getsid(0), flush=True)
while True:
    signal.pause()
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", ["sys.exit(130)", "pass"], ids=["saves", "hangs"])
def test_ctrl_c_lets_the_trainer_save_and_leaves_nothing_running(project, end):
    """All is over in 10 s, up to our last line: how long a machine unloads torch is not ours."""
    (project / "act.py").write_text(TRAINS)
    (project / "trainer.py").write_text(TRAINER.replace("{end}", end))
    command = [PYTHON, "-c", STARTS, sys.executable]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=project) as process:
        line = next(line for line in process.stdout if line.startswith("session"))
        begun_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        last = next(line for line in process.stdout if line.startswith("Interrupted"))
        assert time.monotonic() - begun_s < 10
        process.stdout.read()
    assert (process.returncode, "pillsnap train --resume" in last) == (130, True)
    assert (members(int(line.split()[1])), (project / "saved").exists()) == ([], True)
