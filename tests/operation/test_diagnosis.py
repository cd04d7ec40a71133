"""Failures and their diagnosis: caused for real where that is quick, recorded texts elsewhere."""

import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch

from make.import_graph import ROOT
from pillsnap import params
from pillsnap.errors import UserError
from pillsnap.operation import diagnosis, unfinished
from pillsnap.operation.diagnosis import Diagnosis, explain, known_failures
from pillsnap.training import checkpoints

FACTS = {
    "scale": "stage3", "batch_size": "32", "half_batch_size": "16", "detection_batch_size": "16",
    "half_detection_batch_size": "8", "detection_px": "640", "lr": "0.0003", "tenth_lr": "3e-05",
    "detection_lr": "0.001", "num_workers": "auto", "data_root": "/srv/aihub",
    "disk": "0.1 GB of 500.0 GB", "tmp_disk": "4.0 GB of 8.0 GB", "tmp_dir": "/tmp",
    "ram": "0.4 GB of 16.0 GB", "shared_memory": "0.1 GB of 0.1 GB", "open_files": "1024",
    "gpu": "NVIDIA GeForce RTX 5080, 15.2 of 15.9 GB in use now", "torch": "2.15.0",
    "user": "operator", "log_path": "logs/20251123-153701-train.log",
}  # fmt: skip


def as_dvc_prints(stage_output, exit_code=1, stage="train_classification"):
    return (
        f"Running stage '{stage}':\n> python src/{stage}.py\n{stage_output}\n"
        f"ERROR: failed to reproduce '{stage}': failed to run: python src/{stage}.py, "
        f"exited with {exit_code}\n"
    )


def model(classes):
    return torch.nn.ModuleDict({"fc": torch.nn.Linear(2, classes)})


def load_cut_short():
    torch.save({"x": torch.zeros(1000)}, "x.pt")
    os.truncate("x.pt", 900)
    torch.load("x.pt")


RAISED = {
    "a write to a full disk": ("disk_full", lambda: Path("/dev/full").write_bytes(b"x")),
    "torch's write": ("disk_full", lambda: torch.save({"x": torch.zeros(100_000)}, "/dev/full")),
    "too large an array": ("memory", lambda: np.zeros((1 << 46,), np.uint8)),
    "a checkpoint cut short": ("checkpoint", load_cut_short),
    "other classes": ("class_table", lambda: model(3).load_state_dict(model(4).state_dict())),
    "a photo that is gone": ("data_root", lambda: Path("/srv/aihub/train/x.png").read_bytes()),
    "an input that is gone": ("dvc_dependency", lambda: Path("/srv/pillsnap/x.json").read_bytes()),
    "a missing library": ("environment", lambda: __import__("no_such_library")),
}


@pytest.mark.parametrize("name", RAISED)
def test_an_exception_is_recognised(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kind, fail = RAISED[name]
    with pytest.raises(BaseException) as caught:
        fail()
    printed = as_dvc_prints("".join(traceback.format_exception(caught.value)))
    assert explain(255, printed, FACTS).kind == kind


NOBODY = 65534  # root may write everywhere
PROGRAMS = [
    ("memory", "import os; os.kill(os.getpid(), 9)"),
    ("interrupted", "import os, signal; os.kill(os.getpid(), signal.SIGINT); signal.pause()"),
    ("permission", f"import os; os.geteuid() or os.seteuid({NOBODY}); open('x', 'w')"),
    ("open_files", "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (20, 20)); "
     "files = [open('/dev/null') for _ in range(30)]"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "code"), PROGRAMS, ids=[kind for kind, _ in PROGRAMS])
def test_a_program_that_ends_badly_is_recognised(kind, code, tmp_path):
    tmp_path.chmod(0o555)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    printed = as_dvc_prints(done.stderr, done.returncode)
    assert explain(255, printed, FACTS).kind == kind


def load_damaged(path):
    checkpoints.publish(path, {"w": torch.arange(4096.0)}, {"kind": "classification"})
    content = bytearray(path.read_bytes())
    content[content.find(np.float32(2000).tobytes())] ^= 1
    path.write_bytes(content)
    checkpoints.load_published(path)


def start_from_other_classes(path):
    path.with_name("classes.csv").write_text("class_index\n")
    config = {"kind": "classification", "class_table_hash": "0" * 64}
    checkpoints.publish(path, {"w": torch.zeros(2)}, config)
    unfinished.check_start(path, path.with_name("classes.csv"))


def train_twice(path):
    with checkpoints.WorkFolder("train_detection", "f", path.parent):
        checkpoints.WorkFolder("train_detection", "f", path.parent).__enter__()


def find_no_root(path):
    tree = params.read(ROOT / "params.yaml") | {"scale": "stage1"}
    params.parse(tree, ROOT / "params.yaml").data_root()


def use_broken_parameters(path):
    raise UserError("params.yaml cannot be used:\n  a: bad\n  b: bad", "Fix\nboth.")


REFUSALS = {
    load_damaged: "checkpoint", train_twice: "lock", start_from_other_classes: "class_table",
    find_no_root: "data_root", use_broken_parameters: "refused",
}  # fmt: skip


@pytest.mark.parametrize("refuse", REFUSALS)
def test_a_refusal_is_recognised_and_keeps_its_words(tmp_path, refuse):
    with pytest.raises(UserError) as refused:
        refuse(tmp_path / "best.pt")
    fact, cure = refused.value.fact, refused.value.cure
    printed = as_dvc_prints(f"\ntrain_classification: {fact}\n  -> {cure}\n")
    assert explain(255, printed, FACTS) == Diagnosis(REFUSALS[refuse], fact, "", (cure,))


RECORDED = [(kind, text) for kind, known in known_failures().items() for text in known.examples]


@pytest.mark.parametrize(("kind", "text"), RECORDED)
def test_a_recorded_text_is_recognised(kind, text):
    traced = f'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\n{text}'
    assert explain(255, text, FACTS).kind == kind
    assert explain(255, as_dvc_prints(traced), FACTS).kind == kind


def test_every_known_failure_is_tested_here():
    by_hand = {kind for kind, _ in (*RAISED.values(), *PROGRAMS)} | set(REFUSALS.values())
    assert known_failures().keys() == (by_hand | {kind for kind, _ in RECORDED}) - {"refused"}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[Errno 28] No space left on device", "Free here: 0.1 GB of 500.0 GB"),
        ("exited with -9", "now 0.4 GB of 16.0 GB is free"),
        ("exited with -4", "lacks instructions that a package was built for"),
        ("[Errno 30] Read-only file system: 'a/b c'", "ls -ld . a/b c"),
        ("PermissionError: [Errno 13] Permission denied: '/home/x/.cache'", "/home/x/.cache"),
        ("Permission denied: '/var/tmp/dvc/repo/0a'", "another one. /var/tmp/dvc/repo/0a"),
        ("/t/a.so: failed to map segment from shared object", "The code in /t/a.so may not"),
        ("/l/libc.so.6: version `GLIBC_2.34' not found", "/l/libc.so.6 is older than"),
        ("detected dubious ownership in repository at '/srv/a b'", "safe.directory '/srv/a b'"),
        ("ImportError: libGL.so.1: cannot open shared object", "system is missing: libGL.so.1."),
        ("RuntimeError: NaN persisted for 3 epochs", "pillsnap train --fresh --lr 3e-05"),
        ("No such file or directory: '/srv/aihub/x.png'", "ls /srv/aihub"),
        ("failed to reproduce 'evaluate': dependency 'a/x' does not exist", "input a/x is missing"),
        ("ZeroDivisionError: division by zero", "known ones. The last lines:\nZeroDivisionError"),
        ("ZeroDivisionError: division by zero", "less logs/20251123-153701-train.log"),
    ],
)
def test_texts_are_filled_with_values(text, part):
    found = explain(255, text, FACTS)
    assert part in "\n".join((found.fact, found.cause, *found.cures))


CLEAN = """\
Running stage 'evaluate':\n> python src/evaluate.py
Stage 'validate' didn't change, skipping
Stage 'build_manifest' is cached - skipping run, checking out outputs
Updating lock file 'dvc.lock'\nUse `dvc push` to send your updates to remote storage.
Data and pipelines are up to date.
x.py:1: UserWarning: CUDA initialization: The NVIDIA driver on your system is too old (found 11040).
x.py:1: UserWarning: no kernel image is available, CPU is used
WARNING \u26a0\ufe0f CUDA out of memory with batch=16. Reducing to batch=8 and retrying
WARNING \u26a0\ufe0f Loss NaN/Inf detected (attempt 1/3), recovering from last.pt...
Ultralytics 8.4.190 Python-3.11 torch-2.15.0 CPU (AMD EPYC)\nOptimizer stripped
disk 12.1 GB free, memory 3.1 GB free, port 8888, lock .dvc/tmp/lock, nan 0, killed 0
Ran experiment(s): loopy-math\nExperiment results have been applied to your workspace.
class table 24 classes, checkpoint written, interrupted never, permission granted
seed 17, home /root, compile off, libGL.so.1 found, GLIBC 2.36, AVX2, no lock needed, /var/tmp/dvc
"""


@pytest.mark.parametrize("exit_code", [0, 1])
@pytest.mark.parametrize("text", [CLEAN, *CLEAN.splitlines()])
def test_a_clean_log_raises_no_alarm(text, exit_code):
    assert explain(exit_code, text, FACTS).kind == "unknown"
    assert explain(-signal.SIGKILL, text, FACTS).kind == "memory"  # dvc itself was killed


def test_the_facts_of_this_machine_are_those_that_texts_need(monkeypatch):
    monkeypatch.setenv(params.DATA_ROOT_VARIABLE, "/srv/photos")
    facts = diagnosis.gather(params.load(ROOT / "params.yaml"), ROOT / "logs/x.log")
    assert facts.keys() == FACTS.keys()
    assert facts["data_root"] == "/srv/photos"
    assert facts["disk"].endswith(" GB")


EVENT = {"time": 5.0, "stage": "train_detection", "kind": "progress", "run": "ab", "message": ""}
FAILURE = {"kind": "failure", "message": "Out.", "cause": "Big.", "cures": ["Less."]}


@pytest.mark.parametrize(
    ("last", "is_recorded"),
    [
        (EVENT, True),
        (EVENT | {"kind": "end"}, False),
        (EVENT | {"time": 3.0}, False),  # of an earlier run
        (EVENT | FAILURE, False),  # already reported
        ({}, False),
    ],
)
def test_the_monitor_gets_a_failure_for_the_run_that_ended(last, is_recorded, tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(orjson.dumps(last) + b"\n")
    found = Diagnosis("memory", "Out.", "Big.", ("Less.",))
    diagnosis.record(found, path, since_s=4.0)
    diagnosis.record(found, path.with_name("absent"), since_s=4.0)
    added = [orjson.loads(line) for line in path.read_bytes().splitlines()[1:]]
    found = [event.items() >= {**FAILURE, "run": "ab"}.items() for event in added]
    assert found == [True] * is_recorded
