"""A running stage: exit codes, one screen for a user's error, signals."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from make.import_graph import ROOT, SRC

WORK = """
import os, sys, time
from pillsnap.errors import DataError
from pillsnap.stage.run import run

def work(params, log):
    'A stage for tests.'
    {body}

run("validate", work)
"""


def script(tmp_path, body):
    """A project with one stage; the environment to run it in."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"))
    (tmp_path / "s.py").write_text(WORK.format(body=body))
    return {**os.environ, "PYTHONPATH": str(SRC)}


def start(tmp_path, body, **environment):
    return subprocess.Popen(
        [sys.executable, "s.py"], env=script(tmp_path, body) | environment, cwd=tmp_path,
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "code", "words", "kind"),
    [
        ("return {'top1': 0.5}", 0, "done in", "end"),
        ("raise DataError('a.png is cut short.', 'Copy.')", 1, "short.\n  -> Copy.", "failure"),
        ("open('/dev/full', 'w').write('x' * 99999)", 1, "The disk is full", "failure"),
        ("raise OSError(5, 'Input/output error', 'a.csv')", 1, "The disk failed", "failure"),
        ("return 1 / 0", 1, "Traceback", "failure"),  # a bug
    ],
)
def test_a_stage_ends_with_code_words_and_event(tmp_path, body, code, words, kind):
    process = start(tmp_path, body)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, words in output) == (code, True), output
    assert ("Traceback" in output) == (words == "Traceback")
    lines = (tmp_path / "artifacts/demo/live/events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    [last] = [event for event in events if event["kind"] in ("end", "failure")]
    assert (last["kind"], last["metrics"].get("top1")) == (kind, None if code else 0.5)


def test_an_error_is_printed_even_where_no_event_can_be_written(tmp_path):
    (tmp_path / "artifacts/demo/live").mkdir(parents=True)
    (tmp_path / "artifacts/demo/live/events.jsonl").symlink_to("/dev/full")
    output, _ = start(tmp_path, "raise DataError('a.png is cut.', 'Copy it.')").communicate()
    assert "a.png is cut." in output
    assert "Traceback" not in output


def test_an_unknown_log_level_is_usage(tmp_path):
    process = start(tmp_path, "return {}", PILLSNAP_LOG_LEVEL="LOUD")
    assert "LOUD" in process.communicate()[0]
    assert process.returncode == 2


def test_bad_parameters_are_1_before_anything_runs(tmp_path):
    environment = script(tmp_path, "print('ran')")
    text = (tmp_path / "params.yaml").read_text().replace("epochs: 18", "epochs: 0")
    (tmp_path / "params.yaml").write_text(text)
    command = [sys.executable, "s.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "train.epochs" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_in_130(tmp_path, number):
    process = start(tmp_path, "print('in', flush=True); time.sleep(60)")
    assert process.stdout.readline() == "in\n"
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert (process.returncode, "resumes from here" in output) == (130, True)


def test_a_stage_ends_with_the_dvc_that_started_it(tmp_path):
    environment = script(tmp_path, "print(os.getpid(), flush=True); time.sleep(60)")
    code = "import subprocess, sys; subprocess.call([sys.executable, 's.py'])"
    parent = subprocess.Popen(
        [sys.executable, "-c", code], env=environment | {"DVC_ROOT": str(tmp_path)}, cwd=tmp_path,
        text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with parent:
        stage = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    deadline = time.monotonic() + 60
    while stage.is_running() and stage.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
