"""The monitor in the background: started once, found again, stopped; a lock tells whether it lives.

The child inherits the locked file and the listening socket, so both are sure before it starts.
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
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from pillsnap import files
from pillsnap.errors import MachineError

READY_WITHIN_S = 15.0
STOP_WITHIN_S = 5.0
TOKEN_VARIABLE = "PILLSNAP_MONITOR_TOKEN"


@dataclass(frozen=True, slots=True)
class Daemon:
    """A monitor in the background, as it wrote itself down."""

    pid: int
    process_started_s: float
    host: str
    port: int
    artifacts_dir: str

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return address(self.host, self.port)


def address(host: str, port: int) -> str:
    """The page's address; a host that means "all" is told as this machine."""
    host = _local(host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; MachineError names who holds the port."""
    try:
        family, *_, target = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(target[:2], family=family)
    except socket.gaierror as error:
        raise MachineError(
            f"--host {host} is not an address of this machine ({error.strerror}).",
            "Give 127.0.0.1 for this machine only, or 0.0.0.0 with a token for the network.",
        ) from error
    except PermissionError as error:
        raise MachineError(
            f"Port {port} is reserved for the system.", "Give another: --port 8888."
        ) from error
    except OSError as error:
        raise MachineError(
            f"Port {port} on {host} cannot be used: {error.strerror}{_holder(port)}.",
            f"Give another port: pillsnap monitor --port {port + 1}, "
            "or stop what holds it (a monitor in the background: pillsnap monitor --stop).",
        ) from error


def start(artifacts_dir: Path, host: str, port: int, token: str | None, run_dir: Path) -> Daemon:
    """Start the monitor in the background and return once it answers."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with _lock_path(run_dir).open("a") as lock:
        if not _locked(lock.fileno()):
            raise MachineError(*_running_already(running(run_dir)))
        with listen(host, port) as listener:
            child = _spawn(artifacts_dir, host, token, run_dir, lock.fileno(), listener)
            bound = int(listener.getsockname()[1])
    born_s = psutil.Process(child.pid).create_time()
    daemon = Daemon(child.pid, born_s, host, bound, str(artifacts_dir))
    files.write_text(_record_path(run_dir), json.dumps(asdict(daemon)) + "\n")
    _await_answer(daemon, child, token, run_dir)
    return daemon


def running(run_dir: Path) -> Daemon | None:
    """The monitor in the background, or None where none is alive."""
    try:
        with _lock_path(run_dir).open("rb") as lock:
            if _locked(lock.fileno()):
                return None
        daemon = Daemon(**json.loads(_record_path(run_dir).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
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
    artifacts_dir: Path,
    host: str,
    token: str | None,
    run_dir: Path,
    lock: int,
    listener: socket.socket,
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pillsnap.monitor", str(artifacts_dir), host]
    environment = {key: value for key, value in os.environ.items() if key != TOKEN_VARIABLE}
    if token is not None:  # not among the arguments, where every user of the machine sees it
        environment[TOKEN_VARIABLE] = token
    with (run_dir / "monitor.log").open("wb") as log:
        return subprocess.Popen(
            [*command, str(listener.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            pass_fds=(lock, listener.fileno()),
            start_new_session=True,
        )


def _await_answer(
    daemon: Daemon, child: subprocess.Popen[bytes], token: str | None, run_dir: Path
) -> None:
    deadline_s = time.monotonic() + READY_WITHIN_S
    while child.poll() is None and time.monotonic() < deadline_s:
        if _answers(daemon, token):
            child.returncode = 0  # it lives on by itself: keeps Popen from complaining
            return
        time.sleep(0.05)
    log = (run_dir / "monitor.log").read_text("utf-8", "replace").strip().splitlines()
    stop(run_dir)
    raise MachineError(
        f"The monitor did not come up within {READY_WITHIN_S:.0f} s: {' | '.join(log[-3:])}",
        f"Read {run_dir / 'monitor.log'}, or run it in the foreground: pillsnap monitor.",
    )


def _answers(daemon: Daemon, token: str | None) -> bool:
    connection = http.client.HTTPConnection(_local(daemon.host), daemon.port, timeout=5)
    with closing(connection), suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/healthz", headers={"Authorization": f"Bearer {token}"})
        with connection.getresponse() as response:
            return response.status == http.client.OK
    return False


def _await_end(process: psutil.Process) -> None:
    try:
        process.wait(STOP_WITHIN_S)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(STOP_WITHIN_S)


def _process(daemon: Daemon) -> psutil.Process | None:
    # The start time tells our process from a stranger who got the same number later.
    try:
        process = psutil.Process(daemon.pid)
        ours = abs(process.create_time() - daemon.process_started_s) < 1.0
        return process if ours and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _running_already(daemon: Daemon | None) -> tuple[str, str]:
    where = f" at {daemon.url} (pid {daemon.pid}, {daemon.artifacts_dir})" if daemon else ""
    return f"A monitor runs in the background already{where}.", "pillsnap monitor --stop ends it."


def _holder(port: int) -> str:
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            held = getattr(connection.laddr, "port", None)
            if connection.status == psutil.CONN_LISTEN and held == port:
                name = f"{psutil.Process(connection.pid).name()}, " if connection.pid else ""
                return f" (held by {name}pid {connection.pid})" if connection.pid else ""
    return ""


def _local(host: str) -> str:
    return "localhost" if host in ("0.0.0.0", "::", "") else host


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
