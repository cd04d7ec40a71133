"""Commands in their own session: output as it comes, and nothing left running at the end."""

import os
import signal
import subprocess
import sys
import time

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
        try:
            alive = process.info["status"] != psutil.STATUS_ZOMBIE
            if alive and os.getsid(process.pid) == session:
                found.append(process.pid)
        except (ProcessLookupError, PermissionError):
            continue
    return found


def test_lines_come_whole_in_order_from_both_streams_and_handlers_are_restored(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    code = """
import sys
sys.stdout.write("al"); sys.stdout.flush(); sys.stdout.write("pha 알약\\n"); sys.stdout.flush()
sys.stderr.write("beta\\n"); sys.stderr.flush()
sys.stdout.write("no end")
sys.exit(7)
"""
    with group_of(code, tmp_path) as group:
        assert [line for line in group.lines() if line is not None] == [
            "alpha 알약",
            "beta",
            "no end",
        ]
    assert group.exit_code() == 7
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(process_group, "LONGEST_LINE", 1000)
    with group_of("print('x' * 100_000 + 'end')", tmp_path) as group:
        [line] = filter(None, group.lines())
    assert len(line) <= 1000 + (1 << 16)
    assert line.endswith("end")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_the_command_save_before_it_ends(number, tmp_path):
    lines = []
    with group_of(SAVES, tmp_path) as group:
        for line in filter(None, group.lines()):
            lines.append(line)
            if line == "ready":
                os.kill(os.getpid(), number)
    assert lines == ["ready", "saved"]
    assert (group.interrupted, group.exit_code()) == (True, 130)


@pytest.mark.parametrize(("signals", "stop_within_s"), [(1, 0.3), (2, 60)])
def test_what_does_not_end_in_time_or_gets_a_second_signal_is_killed(
    tmp_path, monkeypatch, signals, stop_within_s
):
    monkeypatch.setattr(process_group, "STOP_WITHIN_S", stop_within_s)
    with group_of(STUBBORN, tmp_path) as group:
        for _ in filter(None, group.lines()):
            for _ in range(signals):
                os.kill(os.getpid(), signal.SIGINT)
    assert group.exit_code() == -signal.SIGKILL


def test_a_child_that_outlives_the_command_is_ended_too(tmp_path, monkeypatch):
    monkeypatch.setattr(process_group, "STOP_WITHIN_S", 0.3)
    with group_of(f"import os; os.fork() or exec({STUBBORN!r})", tmp_path) as group:
        [session] = filter(None, group.lines())
    assert members(int(session)) == []


def test_leaving_early_leaves_nothing_running(tmp_path):
    with group_of(STUBBORN, tmp_path) as group:
        session = int(next(filter(None, group.lines())))
    group.exit_code()
    assert members(session) == []


@pytest.mark.slow
def test_the_command_dies_with_a_killed_caller(tmp_path):
    caller = f"""
import os, sys
from pathlib import Path
from pillsnap.operation.process import ProcessGroup
child = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
with ProcessGroup([sys.executable, "-c", child], os.environ, Path({str(tmp_path)!r})) as group:
    for line in filter(None, group.lines()):
        print(line, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", caller], stdout=subprocess.PIPE) as process:
        session = int(process.stdout.readline())
        process.kill()
    deadline_s = time.monotonic() + 10
    while members(session) and time.monotonic() < deadline_s:
        os.sched_yield()
    assert members(session) == []
