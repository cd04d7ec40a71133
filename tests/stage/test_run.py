"""A running stage: exit codes, one screen for a user's error, signals."""

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

from make.import_graph import ROOT

WORK = """
import os, sys, time
from pillsnap.errors import DataError
from pillsnap.stage.run import run

def work(params, log):
    'A stage for tests.'
    {body}

run("validate", work)
"""
NO_EVENTS = "os.symlink('/dev/full', 'artifacts/demo/live/events.jsonl')"


def start(tmp_path, body, *prefix, epochs=18, **environment):
    """The stage in a project of its own, started by Python or by `prefix`."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(text.replace("epochs: 18", f"epochs: {epochs}"))
    (tmp_path / "s.py").write_text(WORK.format(body=body))
    return subprocess.Popen(
        [sys.executable, *prefix, "s.py"], env=os.environ | environment, cwd=tmp_path,
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "code", "words", "kind", "changes"),
    [
        ("return {'top1': 0.5}", 0, "done in", "end", {}),
        ("raise DataError('a.png is cut short.', 'Copy.')", 1, "short.\n  -> Copy.", "failure", {}),
        ("open('/dev/full', 'w').write('x' * 99999)", 1, "The disk is full", "failure", {}),
        ("raise OSError(5, 'I/O error', 'a.csv')", 1, "The disk failed", "failure", {}),
        ("return 1 / 0", 1, "Traceback", "failure", {}),  # a bug
        (f"{NO_EVENTS}; raise DataError('a.png is cut.', 'Copy.')", 1, "a.png is cut.", None, {}),
        ("pass", 2, "LOUD", None, {"PILLSNAP_LOG_LEVEL": "LOUD"}),
        ("pass", 1, "train.epochs", None, {"epochs": 0}),
    ],
)
def test_a_stage_ends_with_code_words_and_event(tmp_path, body, code, words, kind, changes):
    process = start(tmp_path, body, **changes)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, words in output) == (code, True), output
    assert ("Traceback" in output) == (words == "Traceback")
    if kind is None:
        return
    lines = (tmp_path / "artifacts/demo/live/events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    [last] = [event for event in events if event["kind"] in ("end", "failure")]
    assert (last["kind"], last["metrics"].get("top1")) == (kind, None if code else 0.5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_in_130(tmp_path, number):
    process = start(tmp_path, "print('in', flush=True); time.sleep(60)")
    assert process.stdout.readline() == "in\n"
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert (process.returncode, "resumes from here" in output) == (130, True)


def test_a_stage_ends_with_the_dvc_that_started_it(tmp_path):
    dvc = "import subprocess, sys; subprocess.call([sys.executable, *sys.argv[1:]])"
    body = "print(os.getpid(), flush=True); time.sleep(60)"
    with start(tmp_path, body, "-c", dvc, DVC_ROOT=str(tmp_path)) as parent:
        stage = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    _, alive = psutil.wait_procs([stage], timeout=20)
    assert all(one.status() == psutil.STATUS_ZOMBIE for one in alive)  # no init may wait for it
