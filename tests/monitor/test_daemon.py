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

from make.import_graph import SRC
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
    return daemon.start(tmp_path / "demo", "127.0.0.1", 0, TOKEN, run_dir, proxies)


def test_a_started_monitor_answers_is_found_and_stops(tmp_path: Path, run_dir: Path) -> None:
    started = start(tmp_path, run_dir)
    assert httpx.get(f"{started.url}healthz").status_code == 200
    assert daemon.running(run_dir) == started
    assert daemon.stop(run_dir) == started
    assert daemon.running(run_dir) is None
    assert not psutil.pid_exists(started.pid)


def test_it_requires_the_token_and_allows_its_proxies(tmp_path: Path, run_dir: Path) -> None:
    url = start(tmp_path, run_dir, "pills.example.org").url
    token, proxy = {"authorization": f"Bearer {TOKEN}"}, {"host": "pills.example.org"}
    sent = ({}, token, {**token, **proxy}, {**token, "host": "evil.example"})
    statuses = [httpx.get(url, headers=headers).status_code for headers in sent]
    assert statuses == [401, 200, 200, 400]


def test_its_token_is_not_among_its_arguments(tmp_path: Path, run_dir: Path) -> None:
    started = start(tmp_path, run_dir)
    assert TOKEN not in " ".join(psutil.Process(started.pid).cmdline())
    assert TOKEN not in (run_dir / "monitor.json").read_text("utf-8")


def test_it_runs_in_its_own_session(tmp_path: Path, run_dir: Path) -> None:
    assert os.getsid(start(tmp_path, run_dir).pid) != os.getsid(0)


def test_a_second_one_is_refused_until_the_first_is_stopped(tmp_path: Path, run_dir: Path) -> None:
    first = start(tmp_path, run_dir)
    with pytest.raises(MachineError, match=f"{first.url}.*pid {first.pid}") as refused:
        start(tmp_path, run_dir)
    assert refused.value.cure.endswith("pillsnap monitor --stop")
    command.stop(run_dir)
    assert start(tmp_path, run_dir).pid != first.pid


KILLED = """
import os, signal, sys
from pathlib import Path
from pillsnap.monitor import daemon
daemon._described = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
daemon.start(Path("demo"), "127.0.0.1", 0, None, Path(sys.argv[1]))
"""


def test_one_whose_starter_was_killed_is_found_and_stopped(tmp_path: Path, run_dir: Path) -> None:
    command_line = [sys.executable, "-c", KILLED, str(run_dir)]
    killed = subprocess.run(command_line, env={**os.environ, "PYTHONPATH": str(SRC)})
    assert killed.returncode == -signal.SIGKILL
    deadline_s = time.monotonic() + 60
    while daemon.running(run_dir) is None and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert daemon.stop(run_dir)
    start(tmp_path, run_dir)


def test_after_kill_9_it_is_not_running_and_can_start_again(tmp_path: Path, run_dir: Path) -> None:
    first = start(tmp_path, run_dir)
    killed = psutil.Process(first.pid)
    killed.send_signal(signal.SIGKILL)
    killed.wait(20)
    assert daemon.running(run_dir) is None
    assert start(tmp_path, run_dir).pid != first.pid


def test_another_process_with_its_number_is_not_stopped(tmp_path: Path, run_dir: Path) -> None:
    run_dir.mkdir()
    (run_dir / "monitor.lock").touch()
    started_s = psutil.Process().create_time() - 100
    record = f'{{"pid": {os.getpid()}, "process_started_s": {started_s}, "host": "h", "port": 1'
    (run_dir / "monitor.json").write_text(record + ', "artifacts_dir": "a"}', "utf-8")
    assert daemon.stop(run_dir) is None


def test_stopping_where_nothing_runs_is_no_error(run_dir: Path) -> None:
    assert daemon.stop(run_dir) is None


def test_the_network_without_a_token_is_refused_before_anything_starts(run_dir: Path) -> None:
    with pytest.raises(UserError, match=POLICY.variable):
        command.start(run_dir, "0.0.0.0", 0, run_dir)
    assert not run_dir.exists()


def test_the_status_is_also_the_exit_code(
    tmp_path: Path, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = [command.status(run_dir)]
    command.start(tmp_path / "demo", "127.0.0.1", 0, run_dir)
    codes.append(command.status(run_dir))
    command.stop(run_dir)
    assert codes == [1, 0]
    assert "stopped the monitor at http://127.0.0.1:" in capsys.readouterr().out


@pytest.fixture
def params(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text("scale: demo\nscales: {demo: {}, stage1: {}}\n", "utf-8")
    return path


@pytest.mark.parametrize(("scale", "name"), [(None, "demo"), ("stage1", "stage1")])
def test_the_scale_names_its_folder(params: Path, scale: str | None, name: str) -> None:
    assert command.artifacts_dir_of(params, scale) == params.parent / "artifacts" / name


@pytest.mark.parametrize("scale", ["stage9", "../..", "demo/..", ""])
def test_an_unknown_scale_is_refused(params: Path, scale: str) -> None:
    with pytest.raises(ParameterError, match="demo, stage1"):
        command.artifacts_dir_of(params, scale)


@pytest.mark.parametrize("content", [None, "scale: [", "- 1", "scale: demo"])
def test_parameters_without_scales_are_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "params.yaml"
    if content is not None:
        path.write_text(content, "utf-8")
    with pytest.raises(ParameterError):
        command.artifacts_dir_of(path, None)
