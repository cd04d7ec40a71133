"""The monitor in the background, and the checks before any monitor starts."""

import http.client
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from pillsnap.errors import MachineError, ParameterError, UserError
from pillsnap.monitor import command, daemon

TOKEN = "a-token-of-some-length"


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "run"
    yield folder
    daemon.stop(folder)


def start(tmp_path: Path, run_dir: Path, host: str = "127.0.0.1") -> daemon.Daemon:
    return daemon.start(tmp_path / "demo", host, 0, TOKEN, run_dir)


def answer(port: int, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with closing(connection):
        connection.request("GET", "/healthz", headers=headers)
        with connection.getresponse() as response:
            return response.status


def test_a_started_monitor_answers_is_found_and_stops(tmp_path: Path, run_dir: Path) -> None:
    began = start(tmp_path, run_dir)
    assert answer(began.port, {"Authorization": f"Bearer {TOKEN}"}) == 200
    assert daemon.running(run_dir) == began
    assert daemon.stop(run_dir) == began
    assert daemon.running(run_dir) is None
    assert not psutil.pid_exists(began.pid)


def test_its_token_is_not_among_its_arguments(tmp_path: Path, run_dir: Path) -> None:
    began = start(tmp_path, run_dir)
    assert TOKEN not in " ".join(psutil.Process(began.pid).cmdline())
    assert TOKEN not in (run_dir / "monitor.json").read_text("utf-8")


def test_it_has_a_session_of_its_own(tmp_path: Path, run_dir: Path) -> None:
    assert os.getsid(start(tmp_path, run_dir).pid) != os.getsid(0)


def test_a_second_one_is_refused_and_told_where_the_first_is(tmp_path: Path, run_dir: Path) -> None:
    began = start(tmp_path, run_dir)
    with pytest.raises(MachineError, match=f"{began.url}.*pid {began.pid}"):
        start(tmp_path, run_dir)


def test_after_kill_9_it_counts_as_gone_and_can_start_again(tmp_path: Path, run_dir: Path) -> None:
    first = start(tmp_path, run_dir)
    killed = psutil.Process(first.pid)
    killed.send_signal(signal.SIGKILL)
    killed.wait(20)
    assert daemon.running(run_dir) is None
    assert start(tmp_path, run_dir).pid != first.pid


def test_a_stranger_with_its_number_is_not_stopped(tmp_path: Path, run_dir: Path) -> None:
    run_dir.mkdir()
    (run_dir / "monitor.lock").touch()
    born_s = psutil.Process().create_time() - 100
    record = f'{{"pid": {os.getpid()}, "process_started_s": {born_s}, "host": "h", "port": 1'
    (run_dir / "monitor.json").write_text(record + ', "artifacts_dir": "a"}', "utf-8")
    assert daemon.stop(run_dir) is None


def test_stopping_where_nothing_runs_is_no_error(run_dir: Path) -> None:
    assert daemon.stop(run_dir) is None


def test_a_taken_port_is_refused_with_port_holder_and_cure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with pytest.raises(MachineError) as refused:
            daemon.listen("127.0.0.1", port)
    assert f"Port {port}" in refused.value.fact
    assert f"pid {os.getpid()}" in refused.value.fact
    assert f"--port {port + 1}" in refused.value.cure


def test_a_host_that_is_none_is_refused() -> None:
    with pytest.raises(MachineError, match="--host"):
        daemon.listen("999.999.999.999", 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_this_machine_alone_needs_no_token(host: str) -> None:
    assert command.access_for(host, None).token is None


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "box", "::", ""])
def test_the_network_needs_a_token(host: str) -> None:
    with pytest.raises(UserError, match="PILLSNAP_MONITOR_TOKEN"):
        command.access_for(host, None)


def test_a_short_token_is_refused() -> None:
    with pytest.raises(UserError, match="3 characters"):
        command.access_for("0.0.0.0", "abc")


def test_status_tells_by_its_exit_code(
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
def test_the_scale_leads_to_its_folder(params: Path, scale: str | None, name: str) -> None:
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
