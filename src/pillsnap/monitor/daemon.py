"""The monitor in the background: started once, found again, stopped; it holds a lock while it runs.

The child inherits the locked file and the listening socket, so neither can fail after it started.
"""

import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from pillsnap import files
from pillsnap.errors import MachineError, UserError
from pillsnap.monitor.policy import POLICY
from pillsnap.web.guard import HEALTH
from pillsnap.web.listener import address, listen, local

READY_WITHIN_S = 15.0
STOP_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Daemon:
    """A monitor in the background, as monitor.json records it."""

    pid: int
    process_started_s: float
    host: str
    port: int
    artifacts_dir: str

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return address(self.host, self.port)


def start(
    artifacts_dir: Path,
    host: str,
    port: int,
    token: str | None,
    run_dir: Path,
    proxies: Sequence[str] = (),
) -> Daemon:
    """Start the monitor in the background and return once it answers."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with _lock_path(run_dir).open("a") as lock:
        if not _locked(lock.fileno()):
            raise MachineError(*_running_already(running(run_dir)))
        with listen(host, port, "pillsnap monitor --daemon") as listener:
            arguments = [str(artifacts_dir), host, str(listener.fileno()), str(run_dir), *proxies]
            child = _spawn(arguments, token, run_dir, (lock.fileno(), listener.fileno()))
            daemon = _described(child.pid, artifacts_dir, host, listener)
    _await_answer(daemon, child, run_dir)
    return daemon


def record(run_dir: Path, artifacts_dir: Path, host: str, listener: socket.socket) -> None:
    """In the background process: write monitor.json, whatever becomes of who started it."""
    daemon = _described(os.getpid(), artifacts_dir, host, listener)
    files.write_text(_record_path(run_dir), json.dumps(asdict(daemon)) + "\n")


def running(run_dir: Path) -> Daemon | None:
    """The monitor in the background, or None where none is alive."""
    try:
        with _lock_path(run_dir).open("rb") as lock:
            if _locked(lock.fileno()):
                return None
        daemon = Daemon(**files.read_json(_record_path(run_dir), "pillsnap monitor --daemon"))
    except (OSError, UserError, TypeError):
        return None
    return daemon if _process(daemon) else None


def stop(run_dir: Path) -> Daemon | None:
    """Stop the monitor in the background; returns what was stopped, None where nothing ran."""
    daemon = running(run_dir)
    process = _process(daemon) if daemon else None
    if process is not None:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
        _await_end(process)
    _record_path(run_dir).unlink(missing_ok=True)
    return daemon


def _spawn(
    arguments: Sequence[str], token: str | None, run_dir: Path, inherited: tuple[int, ...]
) -> subprocess.Popen[bytes]:
    environment = {key: value for key, value in os.environ.items() if key != POLICY.variable}
    if token is not None:  # not among the arguments, where every user of the machine sees it
        environment[POLICY.variable] = token
    with (run_dir / "monitor.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "pillsnap.monitor", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            pass_fds=inherited,
            start_new_session=True,
        )


def _await_answer(daemon: Daemon, child: subprocess.Popen[bytes], run_dir: Path) -> None:
    deadline_s = time.monotonic() + READY_WITHIN_S
    while child.poll() is None and time.monotonic() < deadline_s:
        if _answers(daemon):
            child.returncode = 0  # it outlives this process: keeps Popen from warning about it
            return
        time.sleep(0.05)
    log = (run_dir / "monitor.log").read_text("utf-8", "replace").strip().splitlines()
    child.kill()
    child.wait()
    _record_path(run_dir).unlink(missing_ok=True)
    raise MachineError(
        f"The monitor did not answer within {READY_WITHIN_S:.0f} s: {' | '.join(log[-3:])}",
        f"Read {run_dir / 'monitor.log'}, or run it in the foreground: pillsnap monitor",
    )


def _answers(daemon: Daemon) -> bool:
    connection = http.client.HTTPConnection(local(daemon.host), daemon.port, timeout=5)
    with closing(connection), suppress(OSError, http.client.HTTPException):
        connection.request("GET", HEALTH)
        with connection.getresponse() as response:
            return response.status == http.client.OK
    return False


def _await_end(process: psutil.Process) -> None:
    try:
        process.wait(STOP_WITHIN_S)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(STOP_WITHIN_S)


def _described(pid: int, artifacts_dir: Path, host: str, listener: socket.socket) -> Daemon:
    port = int(listener.getsockname()[1])
    return Daemon(pid, psutil.Process(pid).create_time(), host, port, str(artifacts_dir))


def _process(daemon: Daemon) -> psutil.Process | None:
    # The start time tells our process from a later one with the same number.
    try:
        process = psutil.Process(daemon.pid)
        ours = abs(process.create_time() - daemon.process_started_s) < 1.0
        return process if ours and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _running_already(daemon: Daemon | None) -> tuple[str, str]:
    where = f" at {daemon.url} (pid {daemon.pid}, {daemon.artifacts_dir})" if daemon else ""
    return f"A monitor runs in the background already{where}.", "Stop it: pillsnap monitor --stop"


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_path(run_dir: Path) -> Path:
    return run_dir / "monitor.lock"


def _record_path(run_dir: Path) -> Path:
    return run_dir / "monitor.json"
