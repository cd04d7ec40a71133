"""The monitor in the background, and the folder it shows."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from pillsnap.errors import MachineError, ParameterError, UserError
from pillsnap.monitor import command, daemon
from pillsnap.monitor.policy import POLICY

TOKEN = "a-token-of-some-length"


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "run"
    yield folder
    daemon.stop(folder)


def start(tmp_path: Path, run_dir: Path, *proxies: str) -> daemon.Daemon:
    return daemon.start(tmp_path / "demo", "127.0.0.1", 0, run_dir, proxies)


def test_it_requires_the_token_allows_its_proxies_and_stops(tmp_path, run_dir, monkeypatch) -> None:
    monkeypatch.setenv(POLICY.variable, TOKEN)
    started = start(tmp_path, run_dir, "pills.example.org")
    token, proxy = {"authorization": f"Bearer {TOKEN}"}, {"host": "pills.example.org"}
    sent = ({}, token, {**token, **proxy}, {**token, "host": "evil.example"})
    statuses = [httpx.get(started.url, headers=headers).status_code for headers in sent]
    assert statuses == [401, 200, 200, 400]
    assert TOKEN not in " ".join(psutil.Process(started.pid).cmdline())
    assert TOKEN not in (run_dir / "monitor.json").read_text("utf-8")
    assert os.getsid(started.pid) != os.getsid(0)
    assert daemon.stop(run_dir) == started
    assert daemon.running(run_dir) is None
    assert not psutil.pid_exists(started.pid)


def test_one_runs_at_a_time_and_its_state_is_printed(tmp_path, run_dir, capsys) -> None:
    assert command.status(run_dir) == 1
    command.start(tmp_path / "demo", "127.0.0.1", 0, run_dir)
    assert command.status(run_dir) == 0
    first = daemon.running(run_dir)
    with pytest.raises(MachineError, match=f"{first.url}.*pid {first.pid}") as refused:
        start(tmp_path, run_dir)
    assert refused.value.cure.endswith("pillsnap monitor --stop")
    command.stop(run_dir)
    second = start(tmp_path, run_dir)
    killed = psutil.Process(second.pid)
    killed.send_signal(signal.SIGKILL)
    killed.wait(20)
    assert daemon.running(run_dir) is None
    assert start(tmp_path, run_dir).pid not in (first.pid, second.pid)
    command.stop(run_dir)
    command.stop(run_dir)
    printed = capsys.readouterr().out
    assert f"stopped the monitor at {first.url}" in printed
    assert printed.endswith("no monitor was running\n")


KILLED = """
import os, signal, sys
from pathlib import Path
from pillsnap.monitor import daemon
daemon._await_answer = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
daemon.start(Path("demo"), "127.0.0.1", 0, Path(sys.argv[1]))
"""


def test_one_whose_starter_was_killed_is_found_and_stopped(tmp_path: Path, run_dir: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(run_dir)])
    assert killed.returncode == -signal.SIGKILL
    deadline_s = time.monotonic() + 60
    while daemon.running(run_dir) is None and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert daemon.stop(run_dir)
    start(tmp_path, run_dir)


def test_a_process_without_the_lock_is_not_stopped(run_dir: Path) -> None:
    run_dir.mkdir()
    (run_dir / "monitor.lock").touch()
    record = f'{{"pid": {os.getpid()}, "host": "h", "port": 1, "artifacts_dir": "a"}}'
    (run_dir / "monitor.json").write_text(record, "utf-8")  # its number was given to another
    assert daemon.stop(run_dir) is None


def test_the_network_without_a_token_is_refused_before_anything_starts(run_dir: Path) -> None:
    with pytest.raises(UserError, match=POLICY.variable):
        command.start(run_dir, "0.0.0.0", 0, run_dir)
    assert not run_dir.exists()


def test_the_scale_names_its_folder(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text("scale: demo\nscales: {demo: {}, stage1: {}}\n", "utf-8")
    for scale, name in ((None, "demo"), ("stage1", "stage1")):
        assert command.artifacts_dir_of(params, scale) == params.parent / "artifacts" / name
    for scale in ("stage9", "../..", "demo/..", ""):
        with pytest.raises(ParameterError, match="demo, stage1"):
            command.artifacts_dir_of(params, scale)
    for content in ("scale: [", "- 1", "scale: demo"):
        params.write_text(content, "utf-8")
        with pytest.raises(ParameterError):
            command.artifacts_dir_of(params, None)
    with pytest.raises(ParameterError):
        command.artifacts_dir_of(params.with_name("none.yaml"), None)
