"""`pillsnap train` with a `dvc` that acts: what it starts, says, writes, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from make.made_project import make_dvc, make_git, make_project
from pillsnap import params
from pillsnap.aihub import fingerprint
from pillsnap.operation import train, unfinished, webhook
from pillsnap.operation.train import TrainOptions
from pillsnap.training import checkpoints

PYTHON = sys.executable  # `project` puts another in its place

# Stands for dvc: `status` says what the test wrote, anything else is recorded and acted out.
ACTS = """
import json, os, sys, pathlib
if sys.argv[1] == "status":
    print(pathlib.Path("status.json").read_text())
    sys.exit(0)
names = ["PATH", "PILLSNAP_LOG_LEVEL", "PILLSNAP_WEBHOOK_URL"]
told = {"argv": sys.argv[1:], "env": {name: os.environ.get(name) for name in names}}
pathlib.Path("called.json").write_text(json.dumps(told))
exec(pathlib.Path("act.py").read_text())
"""
GOES_WELL = r"""
print("Running stage 'train_classification':\n> python src/train_classification.py")
sys.stderr.write("  0%|   |\r 50%|=  |\r100%|===|\n")
print("2025-11-23 15:37:01,204 DEBUG   train_classification  step 1", flush=True)
"""
FAILS = r"""
print("Running stage 'train_classification':\n> python src/train_classification.py")
print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB")
print("ERROR: failed to reproduce 'train_classification': failed to run: x, exited with 1")
sys.exit(255)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (params.DATA_ROOT_VARIABLE, webhook.URL_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    folder = make_project(tmp_path / "project")
    monkeypatch.setattr(sys, "executable", str(make_dvc(tmp_path / "bin", ACTS)))
    monkeypatch.chdir(folder)
    (folder / "status.json").write_text("{}")
    (folder / "act.py").write_text(GOES_WELL)
    return folder


def called(project: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((project / "called.json").read_text())
    return told


def the_log(project: Path) -> str:
    [path] = (project / "logs").iterdir()
    return path.read_text("utf-8")


def test_without_changes_the_pipeline_is_reproduced(project: Path) -> None:
    assert train.train(TrainOptions()) == 0
    assert called(project)["argv"] == ["repro"]


def test_changed_options_become_an_experiment(project: Path) -> None:
    make_git(project, commit=True)
    options = TrainOptions(epochs=2, batch_size=24, detection_batch_size=8, lr=1e-3)
    assert train.train(options) == 0
    assert called(project)["argv"] == [
        "exp", "run", "-S", "train.epochs=2", "-S", "train.batch_size=24",
        "-S", "train.detection_batch_size=8", "-S", "train.lr=0.001",
    ]  # fmt: skip


def test_options_that_change_nothing_are_no_experiment(project: Path) -> None:
    train.train(TrainOptions(scale="demo", epochs=18, batch_size=32, lr=3e-3))
    assert called(project)["argv"] == ["repro"]


def test_an_experiment_without_git_is_refused_before_it_starts(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.train(TrainOptions(epochs=2)) == 1
    assert "git init" in capsys.readouterr().out
    assert not (project / "called.json").exists()


def test_a_failed_point_stops_everything(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.train(TrainOptions(scale="stage3")) == 1
    assert "Nothing was started" in capsys.readouterr().out
    assert not (project / "called.json").exists()


def test_an_unknown_scale_is_refused_with_the_known_ones(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.train(TrainOptions(scale="stage9")) == 1
    assert "known scales are demo, stage1" in capsys.readouterr().out


def test_the_stages_get_the_environment_first_and_the_log_level_but_no_secret(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(webhook.URL_VARIABLE, "http://127.0.0.1:1/s3cret")
    train.train(TrainOptions(log_level="debug"))
    environment = called(project)["env"]
    assert environment["PATH"].startswith(str(Path(sys.executable).parent) + os.pathsep)
    assert environment["PILLSNAP_LOG_LEVEL"] == "DEBUG"
    assert environment["PILLSNAP_WEBHOOK_URL"] is None
    assert "s3cret" not in the_log(project)


def test_everything_printed_is_in_the_log_with_level_and_stage(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train.train(TrainOptions())
    log = the_log(project)
    assert "INFO    train  warn  gpu" in log or "INFO    train  pass  gpu" in log
    assert "DEBUG   train_classification  step 1" in log
    assert "INFO    train_classification  100%|===|" in log
    assert "\r" not in log
    assert "step 1" in capsys.readouterr().out


def test_what_will_run_is_told_before_it_runs(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "status.json").write_text('{"evaluate": ["changed command"]}')
    train.train(TrainOptions())
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["cached", "build_manifest", "up", "to", "date"] in lines
    assert ["runs", "evaluate", "changed", "command"] in lines


def test_an_unset_fingerprint_is_taken(project: Path) -> None:
    train.train(TrainOptions())
    taken = fingerprint.read(project / fingerprint.path_of("demo"))
    assert taken is not None
    assert (taken.count, taken.bytes) == (3, 120_000)


def test_a_failure_is_explained_with_figures_and_cures(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "act.py").write_text(FAILS)
    assert train.train(TrainOptions()) == 1
    said = capsys.readouterr().out
    assert "The GPU ran out of memory." in said
    assert "pillsnap train --batch-size 16 --detection-batch-size 8" in said
    assert "ERROR   train  The GPU ran out of memory." in the_log(project)


def test_a_failed_experiment_says_how_to_go_back(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_git(project, commit=True)
    (project / "act.py").write_text(FAILS)
    train.train(TrainOptions(epochs=2))
    said = " ".join(capsys.readouterr().out.split())
    assert "keeps train.epochs" in said
    assert "git checkout params.yaml dvc.lock" in said


def test_a_lock_of_dvc_is_explained_before_anything_runs(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = Path(sys.executable).parent / "dvc"
    text = "ERROR: Unable to acquire lock. Most likely another DVC process is running"
    program.write_text(f"#!{Path(PYTHON).resolve()}\nraise SystemExit({text!r})")
    assert train.train(TrainOptions()) == 1
    assert "Another run holds the lock." in capsys.readouterr().out


def test_the_figures_are_told_at_the_end(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project / "artifacts/demo"
    folder.mkdir(parents=True)
    metrics = {"classification": {"top1": 0.9712}, "detection": {"map50": None}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    train.train(TrainOptions())
    assert "top-1 0.9712, mAP50 -" in capsys.readouterr().out


def unfinished_run(project: Path) -> Path:
    folder = checkpoints.WorkFolder("train_classification", "ab", project / ".checkpoints")
    with folder:
        folder.save({"history": [{}, {}, {}]})
    return folder.path


def test_resume_says_after_which_epoch_it_goes_on(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = unfinished_run(project)
    train.train(TrainOptions(resume=True))
    said = " ".join(capsys.readouterr().out.split())
    assert "train_classification: interrupted after 3 complete epochs" in said
    assert path.exists()


def test_fresh_forgets_unfinished_runs_and_nothing_else(project: Path) -> None:
    path = unfinished_run(project)
    (project / ".checkpoints/yolo11s.pt").touch()
    train.train(TrainOptions(resume=False))
    assert not path.exists()
    assert (project / ".checkpoints/yolo11s.pt").exists()


def test_fresh_is_refused_while_that_training_runs(project: Path) -> None:
    with checkpoints.WorkFolder("train_detection", "ab", project / ".checkpoints") as folder:
        assert train.train(TrainOptions(resume=False)) == 1
        assert folder.path.exists()


def publish(path: Path, **config: str) -> Path:
    checkpoints.publish(path, {"w": torch.zeros(2)}, {"kind": "classification", **config})
    return path


def test_a_checkpoint_becomes_the_weights_of_the_scale(project: Path) -> None:
    make_git(project, commit=True)
    path = publish(project / "mine.pt")
    assert train.train(TrainOptions(checkpoint=path)) == 0
    key, start = called(project)["argv"][-1].split("=")
    assert key == "scales.demo.classifier_weights"
    assert start.startswith(".checkpoints/start/")  # a copy: DVC deletes outs before a stage runs
    assert (project / start).read_bytes() == path.read_bytes()


def test_a_checkpoint_of_other_classes_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = project / "artifacts/demo/classes.csv"
    classes.parent.mkdir(parents=True)
    classes.write_text("class_index\n")
    path = publish(project / "mine.pt", class_table_hash="0" * 64)
    assert train.train(TrainOptions(checkpoint=path)) == 1
    assert "another class table" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("content", [None, b"no weights"], ids=["absent", "foreign"])
def test_weights_that_cannot_be_read_are_refused_before_they_are_copied(
    project: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    path = project / "mine.pt"
    if content:
        path.write_bytes(content)
    assert train.train(TrainOptions(checkpoint=path)) == 1
    assert "mine.pt is " in " ".join(capsys.readouterr().out.split())
    assert not (project / ".checkpoints/start").exists()


def test_a_detector_is_no_start_for_the_classifier(project: Path) -> None:
    path = publish(project / "mine.pt", kind="detection")
    with pytest.raises(unfinished.CheckpointError, match="not a classifier"):
        unfinished.check_start(path, project / "none.csv")


STARTS = """
import sys
from pillsnap.operation import train
sys.executable = sys.argv[1]
sys.exit(train.train(train.TrainOptions()))
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


def interrupt(project: Path, end: str) -> tuple[int, float, list[int], str]:
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


def _session(pid: int) -> int | None:
    try:
        running = psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        return os.getsid(pid) if running else None
    except (ProcessLookupError, psutil.NoSuchProcess):
        return None


@pytest.mark.slow
def test_ctrl_c_lets_the_trainer_save_and_leaves_nothing_running(project: Path) -> None:
    code, seconds, left, said = interrupt(project, "sys.exit(130)")
    assert (code, left) == (130, [])
    assert seconds < 10
    assert (project / "saved").exists()
    assert "pillsnap train --resume" in said


@pytest.mark.slow
def test_ctrl_c_ends_a_trainer_that_hangs_within_ten_seconds(project: Path) -> None:
    code, seconds, left, _ = interrupt(project, "pass")
    assert (code, left) == (130, [])
    assert seconds < 10
