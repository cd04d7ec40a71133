"""`pillsnap train` with a fake `dvc`: what it starts, prints, writes, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import timm
import torch

from make.made_project import make_dvc, make_git, make_project
from pillsnap import params
from pillsnap.aihub import fingerprint
from pillsnap.operation import check_speed, preflight, train, unfinished
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
GOES_WELL = r"""
print("Running stage 'train_classification':\n> python src/train_classification.py")
sys.stderr.write("  0%|   |\r 50%|=  |\r100%|===|\n")
event("an earlier run", time_s=1e9)
event("step 1", "DEBUG")
event("half way", kind="progress")
event("알약 [1/2]", "WARNING", "evaluate")
"""
FAILS = r"""
print("Running stage 'train_classification':\n> python src/train_classification.py")
print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB")
print("ERROR: failed to reproduce 'train_classification': failed to run: x, exited with 1")
sys.exit(255)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.delenv(params.DATA_ROOT_VARIABLE, raising=False)
    quick = [check for check in preflight.CHECKS if check is not check_speed.check]
    monkeypatch.setattr(preflight, "CHECKS", quick)
    folder = make_project(tmp_path / "project")
    monkeypatch.setattr(sys, "executable", str(make_dvc(tmp_path / "bin", FAKE)))
    monkeypatch.chdir(folder)
    (folder / "status.json").write_text("{}")
    (folder / "act.py").write_text(GOES_WELL)
    return folder


def called(project):
    call: dict[str, Any] = json.loads((project / "called.json").read_text())
    return call


def the_log(project):
    [path] = (project / "logs").iterdir()
    return path.read_text("utf-8")


def test_without_changes_the_pipeline_is_reproduced(project):
    assert train.train({}) == 0
    assert called(project)["argv"] == ["repro"]


def test_changed_options_become_an_experiment(project):
    make_git(project, commit=True)
    wanted = {
        "scale": None, "train.epochs": 2, "train.batch_size": 24, "train.detection_batch_size": 8,
        "train.lr": 1e-3,
    }  # fmt: skip
    assert train.train(wanted) == 0
    assert called(project)["argv"] == [
        "exp", "run", "-S", "train.epochs=2", "-S", "train.batch_size=24",
        "-S", "train.detection_batch_size=8", "-S", "train.lr=0.001",
    ]  # fmt: skip


def test_options_that_change_nothing_are_no_experiment(project):
    train.train({"scale": "demo", "train.epochs": 18, "train.batch_size": 32, "train.lr": 3e-3})
    assert called(project)["argv"] == ["repro"]


def test_an_experiment_without_git_is_refused_before_it_starts(project, capsys):
    assert train.train({"train.epochs": 2}) == 1
    assert "git init" in capsys.readouterr().out
    assert not (project / "called.json").exists()


def test_a_failed_point_stops_everything(project, capsys):
    assert train.train({"scale": "stage3"}) == 1
    assert "Nothing was started" in capsys.readouterr().out
    assert not (project / "called.json").exists()


def test_an_unknown_scale_is_refused_with_the_known_ones(project, capsys):
    assert train.train({"scale": "stage9"}) == 1
    assert "known scales are demo, stage1" in capsys.readouterr().out


def test_stages_find_the_environment_first_and_log_to_their_events_only(project):
    train.train({}, log_level="DEBUG")
    environment = called(project)["env"]
    assert environment["PATH"].startswith(str(Path(sys.executable).parent) + os.pathsep)
    assert environment["PILLSNAP_LOG_LEVEL"] == "DEBUG"
    assert environment["PILLSNAP_CONSOLE"] == "off"


def test_log_lines_come_from_events_and_other_lines_from_dvc(project, capsys):
    train.train({})
    log, printed = the_log(project), capsys.readouterr().out
    assert "INFO    train  warn  gpu" in log or "INFO    train  pass  gpu" in log
    for line in ("DEBUG   train_classification  step 1", "WARNING evaluate  알약 [1/2]"):
        assert [text.count(line) for text in (log, printed)] == [1, 1]
    assert "INFO    dvc  Running stage 'train_classification':" in log
    assert "INFO    dvc  100%|===|" in log
    assert "\r" not in log
    assert not any(word in log + printed for word in ("an earlier run", "half way"))


@pytest.mark.parametrize(
    ("level", "message"),
    [
        ("WARNING", "Out of GPU memory: the step is redone in 2 parts, with the same batch."),
        ("WARNING", ".checkpoints/x/newest.ckpt is damaged; the one before it is used."),
        ("INFO", "resuming after epoch 3, step 12"),
        ("INFO", "link_broken: y.png: No such file or directory"),
        ("DEBUG", "folder_unreadable: train/x: Permission denied"),
        ("INFO", "1,500 pills admitted, 0 refused, done in 1.2 min"),
    ],
)
def test_a_log_line_is_not_taken_for_the_cause_of_a_failure(project, capsys, level, message):
    (project / "act.py").write_text(f"event({message!r}, {level!r})\nsys.exit(1)")
    assert train.train({}) == 1
    assert "This failure is not one of the known ones." in capsys.readouterr().out


def test_what_is_out_of_date_is_shown_before_it_runs(project, capsys):
    changed = {f"train.{name}": "modified" for name in "abcde"}
    status = {
        "evaluate": ["changed command", {"changed outs": {"artifacts/x": "deleted"}}],
        "train_classification": [{"changed deps": {"src/a": "modified", "params.yaml": changed}}],
    }
    (project / "status.json").write_text(f"a line that git wrote\n{json.dumps(status)}")
    train.train({})
    printed = " ".join(capsys.readouterr().out.split())
    assert "up to date build_manifest up to date validate" in printed
    assert "out of date evaluate changed command, artifacts/x deleted" in printed
    assert re.search("train_classification.* src/a modified, .* and 3 more", printed)


def test_an_unset_fingerprint_is_taken(project):
    train.train({})
    taken = fingerprint.read(project / fingerprint.path_of("demo"))
    assert taken is not None
    assert (taken.count, taken.bytes) == (3, 120_000)


def test_a_failure_is_explained_with_figures_and_cures(project, capsys):
    (project / "act.py").write_text(FAILS)
    assert train.train({}) == 1
    said = capsys.readouterr().out
    assert "The GPU ran out of memory." in said
    assert "pillsnap train --batch-size 16 --detection-batch-size 8" in said
    assert "ERROR   train  The GPU ran out of memory." in the_log(project)


def test_a_failed_experiment_says_how_to_go_back(project, capsys):
    make_git(project, commit=True)
    (project / "act.py").write_text(FAILS)
    train.train({"train.epochs": 2})
    printed = " ".join(capsys.readouterr().out.split())
    assert "keeps train.epochs" in printed
    assert "Back to the committed params.yaml: pillsnap train --back" in printed


def test_a_lock_of_dvc_is_explained_before_anything_runs(project, capsys):
    program = Path(sys.executable).parent / "dvc"
    text = "ERROR: Unable to acquire lock. Most likely another DVC process is running"
    program.write_text(f"#!{Path(PYTHON).resolve()}\nraise SystemExit({text!r})")
    assert train.train({}) == 1
    assert "Another run holds the lock." in capsys.readouterr().out


def test_the_figures_are_told_at_the_end(project, capsys):
    folder = project / "artifacts/demo"
    folder.mkdir(parents=True)
    metrics = {"classification": {"top1": 0.9712}, "detection": {"map50": None}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    train.train({})
    assert "top-1 0.9712, mAP50 -" in capsys.readouterr().out


def unfinished_run(project):
    folder = checkpoints.WorkFolder("train_classification", "ab", project / ".checkpoints")
    with folder:
        folder.save({"history": [{}, {}, {}]})
    return folder.path


def test_resume_says_after_which_epoch_it_goes_on(project, capsys):
    path = unfinished_run(project)
    train.train({}, resume=True)
    said = " ".join(capsys.readouterr().out.split())
    assert "train_classification: interrupted after 3 complete epochs" in said
    assert path.exists()


def test_fresh_forgets_unfinished_runs_and_nothing_else(project):
    path = unfinished_run(project)
    (project / ".checkpoints/yolo11s.pt").touch()
    train.train({}, resume=False)
    assert not path.exists()
    assert (project / ".checkpoints/yolo11s.pt").exists()


def test_fresh_is_refused_while_that_training_runs(project):
    with checkpoints.WorkFolder("train_detection", "ab", project / ".checkpoints") as folder:
        assert train.train({}, resume=False) == 1
        assert folder.path.exists()


def publish(path, **config):
    checkpoints.publish(path, {"w": torch.zeros(2)}, {"kind": "classification", **config})
    return path


def test_a_checkpoint_becomes_the_weights_of_the_scale(project):
    make_git(project, commit=True)
    path = project / "mine.pt"
    weights = timm.create_model("test_resnet", num_classes=24).state_dict()
    checkpoints.publish(path, weights, {"kind": "classification"})
    assert train.train({}, checkpoint=path) == 0
    key, start = called(project)["argv"][-1].split("=")
    assert key == "scales.demo.classifier_weights"
    assert start.startswith(".checkpoints/start/")  # a copy: DVC deletes outs before a stage runs
    assert (project / start).read_bytes() == path.read_bytes()


def test_a_checkpoint_of_other_classes_is_refused(project, capsys):
    classes = project / "artifacts/demo/classes.csv"
    classes.parent.mkdir(parents=True)
    classes.write_text("class_index\n")
    path = publish(project / "mine.pt", class_table_hash="0" * 64)
    assert train.train({}, checkpoint=path) == 1
    assert "another class table" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("content", [None, b"no weights"], ids=["absent", "foreign"])
def test_weights_that_cannot_be_read_are_refused_before_they_are_copied(project, capsys, content):
    path = project / "mine.pt"
    if content:
        path.write_bytes(content)
    assert train.train({}, checkpoint=path) == 1
    assert "mine.pt is " in " ".join(capsys.readouterr().out.split())
    assert not (project / ".checkpoints/start").exists()


def test_a_detector_is_no_start_for_the_classifier(project):
    path = publish(project / "mine.pt", kind="detection")
    with pytest.raises(unfinished.CheckpointError, match="not a classifier"):
        unfinished.check_start(path, project / "none.csv")


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


def interrupt(project, end):
    """Ctrl-C in the middle: exit code, seconds until all had ended, who is left, what was said.

    The seconds end with our last word: how long a loaded machine unloads torch is not ours.
    """
    (project / "act.py").write_text(TRAINS)
    (project / "trainer.py").write_text(TRAINER.replace("{end}", end))
    command = [PYTHON, "-c", STARTS, sys.executable]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=project) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("session"):
                break
        session = int(said[-1].split()[1])
        begun_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        for line in process.stdout:
            said.append(line)
            if line.startswith("Interrupted"):
                break
        seconds = time.monotonic() - begun_s
        code = process.wait()
    left = [pid for pid in psutil.pids() if _session(pid) == session]
    return code, seconds, left, "".join(said)


def _session(pid):
    try:
        running = psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        return os.getsid(pid) if running else None
    except (ProcessLookupError, psutil.NoSuchProcess):
        return None


@pytest.mark.slow
def test_ctrl_c_lets_the_trainer_save_and_leaves_nothing_running(project):
    code, seconds, left, said = interrupt(project, "sys.exit(130)")
    assert (code, left) == (130, [])
    assert seconds < 10
    assert (project / "saved").exists()
    assert "pillsnap train --resume" in said


@pytest.mark.slow
def test_ctrl_c_ends_a_trainer_that_hangs_within_ten_seconds(project):
    code, seconds, left, _ = interrupt(project, "pass")
    assert (code, left) == (130, [])
    assert seconds < 10
