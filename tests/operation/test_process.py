"""Commands in their own session: output as it comes, and nothing left running at the end."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

from pillsnap.operation import process as process_group
from pillsnap.operation.process import ProcessGroup

SAVES = """
import signal, sys
def save(*_):
    print("saved", flush=True)
    sys.exit(130)
signal.signal(signal.SIGINT, save)
print("ready", flush=True)
while True:
    signal.pause()
"""
STUBBORN = """
import os, signal
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
print(os.getsid(0), flush=True)
while True:
    signal.pause()
"""


def group_of(code, cwd):
    return ProcessGroup([sys.executable, "-c", code], os.environ, cwd)


def members(session):
    """Processes of a session that have not ended."""
    found = []
    for process in psutil.process_iter(["status"]):
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == session and process.info["status"] != "zombie":
                found.append(process.pid)
    return found


def test_lines_come_whole_in_order_from_both_streams_and_handlers_are_restored(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    code = """
import os
for part in ("al", "pha 알약\\n"):
    os.write(1, part.encode())
os.write(2, b"beta\\n")
os.write(1, b"no end")
os._exit(7)
"""
    with group_of(code, tmp_path) as group:
        lines = [line for line in group.lines() if line is not None]
    assert (lines, group.exit_code()) == (["alpha 알약", "beta", "no end"], 7)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(process_group, "LONGEST_LINE", 1000)
    with group_of("print('x' * 100_000 + 'end')", tmp_path) as group:
        [line] = filter(None, group.lines())
    assert (len(line) <= 1000 + (1 << 16), line[-3:]) == (True, "end")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_the_command_save_before_it_ends(number, tmp_path):
    lines = []
    with group_of(SAVES, tmp_path) as group:
        for line in filter(None, group.lines()):
            lines.append(line)
            if line == "ready":
                os.kill(os.getpid(), number)
    assert (lines, group.interrupted, group.exit_code()) == (["ready", "saved"], True, 130)


@pytest.mark.parametrize(
    ("start", "signals", "stop_within_s"),
    [("", 1, 0.3), ("", 2, 60), ("import os; os.fork() or ", 0, 0.3), ("", 0, None)],
    ids=["too slow", "a second signal", "a child that outlives the command", "left early"],
)
def test_what_does_not_end_in_time_is_killed(tmp_path, monkeypatch, start, signals, stop_within_s):
    monkeypatch.setattr(process_group, "STOP_WITHIN_S", stop_within_s or 60)
    with group_of(f"{start}exec({STUBBORN!r})", tmp_path) as group:
        for line in filter(None, group.lines()):
            session = int(line)
            for _ in range(signals):
                os.kill(os.getpid(), signal.SIGINT)
            if stop_within_s is None:
                break
    assert group.exit_code() == (0 if start else -signal.SIGKILL)
    assert members(session) == []


@pytest.mark.slow
def test_the_command_dies_with_a_killed_caller(tmp_path):
    caller = """
import os, pathlib, sys
from pillsnap.operation.process import ProcessGroup
child = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
with ProcessGroup([sys.executable, "-c", child], os.environ, pathlib.Path()) as group:
    for line in filter(None, group.lines()):
        print(line, flush=True)
"""
    command = [sys.executable, "-c", caller]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as process:
        session = int(process.stdout.readline())
        process.kill()
    deadline_s = time.monotonic() + 10
    while members(session) and time.monotonic() < deadline_s:
        os.sched_yield()
    assert members(session) == []
