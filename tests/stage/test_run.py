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
import sys
from pillsnap.errors import DataError
from pillsnap.stage.run import run

def work(params, log):
    'A stage for tests.'
    {body}

run("validate", work)
"""


def start(tmp_path, body, **environment):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"))
    (tmp_path / "s.py").write_text(WORK.format(body=body))
    return subprocess.Popen(
        [sys.executable, "s.py"], cwd=tmp_path, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": str(SRC), **environment},
    )  # fmt: skip


def ended(tmp_path, body):
    process = start(tmp_path, body)
    output, _ = process.communicate(timeout=60)
    lines = (tmp_path / "artifacts/demo/live/events.jsonl").read_text().splitlines()
    return process.returncode, output, [json.loads(line) for line in lines]


def test_done_is_0_with_the_metrics_in_the_last_event(tmp_path):
    code, _, events = ended(tmp_path, "return {'top1': 0.5}")
    assert code == 0
    end = next(event for event in events if event["kind"] == "end")
    assert end["metrics"]["top1"] == 0.5


def test_a_users_error_is_1_and_one_screen(tmp_path):
    code, output, events = ended(
        tmp_path, "raise DataError('a.png is cut short.', 'Copy it anew.')"
    )
    assert code == 1
    assert "a.png is cut short." in output
    assert "-> Copy it anew." in output
    assert "Traceback" not in output
    assert events[-1]["kind"] == "failure"


@pytest.mark.parametrize(
    ("body", "fact"),
    [
        ("open('/dev/full', 'w').write('x' * 99999)", "The disk is full"),
        ("raise OSError(5, 'Input/output error', 'a.csv')", "The disk failed"),
    ],
)
def test_a_fault_of_the_disk_is_named(tmp_path, body, fact):
    code, output, _ = ended(tmp_path, body)
    assert code == 1
    assert fact in output
    assert "Traceback" not in output


def test_an_error_is_printed_even_where_no_event_can_be_written(tmp_path):
    live_dir = tmp_path / "artifacts/demo/live"
    live_dir.mkdir(parents=True)
    (live_dir / "events.jsonl").symlink_to("/dev/full")
    output, _ = start(tmp_path, "raise DataError('a.png is cut.', 'Copy it.')").communicate()
    assert "a.png is cut." in output
    assert "Traceback" not in output


def test_unknown_log_level_is_usage(tmp_path):
    process = start(tmp_path, "return {}", PILLSNAP_LOG_LEVEL="LOUD")
    assert "LOUD" in process.communicate()[0]
    assert process.returncode == 2


def test_a_bug_keeps_its_traceback(tmp_path):
    code, output, events = ended(tmp_path, "return 1 / 0")
    assert code == 1
    assert "ZeroDivisionError" in output
    assert events[-1]["kind"] == "failure"


def test_bad_parameters_are_1_before_anything_runs(tmp_path):
    process = start(tmp_path, "print('ran')")
    process.kill()
    process.communicate()
    text = (tmp_path / "params.yaml").read_text().replace("epochs: 18", "epochs: 0")
    (tmp_path / "params.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "s.py"], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(SRC)},
    )  # fmt: skip
    assert done.returncode == 1
    assert "train.epochs" in done.stderr
    assert "ran" not in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_in_130(tmp_path, number):
    process = start(tmp_path, "import time; print('in', flush=True); time.sleep(60)")
    assert process.stdout.readline() == "in\n"
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "resumes from here" in output


def test_a_stage_ends_with_the_dvc_that_started_it(tmp_path):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"))
    body = "import time; open('pid', 'w').write(str(__import__('os').getpid())); time.sleep(60)"
    (tmp_path / "s.py").write_text(WORK.format(body=body))
    parent = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys; subprocess.call([sys.executable, 's.py'])"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(SRC), "DVC_ROOT": str(tmp_path)},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pid = int((tmp_path / "pid").read_text())
    parent.kill()
    parent.wait()
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
