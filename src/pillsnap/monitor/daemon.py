"""The monitor in the background: started once, found again, stopped; it holds a lock while it runs.

The child inherits the locked file and the listening socket, so neither can fail after it started.
"""

import fcntl
import http.client
import os
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

LOCK, RECORD, LOG = "monitor.lock", "monitor.json", "monitor.log"
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
    with (run_dir / LOCK).open("a") as lock:
        if not _locked(lock.fileno()):
            other = running(run_dir)
            where = f" at {other.url} (pid {other.pid}, {other.artifacts_dir})" if other else ""
            fact = f"A monitor runs in the background already{where}."
            raise MachineError(fact, "Stop it: pillsnap monitor --stop")
        with listen(host, port, "pillsnap monitor --daemon") as listener:
            arguments = [str(artifacts_dir), host, str(listener.fileno()), *proxies]
            child = _spawn(arguments, token, run_dir, (lock.fileno(), listener.fileno()))
            bound = int(listener.getsockname()[1])
    started_s = psutil.Process(child.pid).create_time()
    daemon = Daemon(child.pid, started_s, host, bound, str(artifacts_dir))
    files.write_json(run_dir / RECORD, asdict(daemon))
    _await_answer(daemon, child, run_dir)
    return daemon


def running(run_dir: Path) -> Daemon | None:
    """The monitor in the background, or None where none is alive."""
    try:
        with (run_dir / LOCK).open("rb") as lock:
            if _locked(lock.fileno()):
                return None
        daemon = Daemon(**files.read_json(run_dir / RECORD, "pillsnap monitor --daemon"))
    except (OSError, UserError, TypeError):
        return None
    return daemon if _process(daemon) else None


def stop(run_dir: Path) -> Daemon | None:
    """Stop the monitor in the background; returns what was stopped, None where nothing ran."""
    daemon = running(run_dir)
    process = _process(daemon) if daemon else None
    if process is not None:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
        _, alive = psutil.wait_procs([process], STOP_WITHIN_S)
        for stubborn in alive:
            stubborn.kill()
        psutil.wait_procs(alive, STOP_WITHIN_S)
    (run_dir / RECORD).unlink(missing_ok=True)
    return daemon


def _spawn(
    arguments: Sequence[str], token: str | None, run_dir: Path, inherited: tuple[int, ...]
) -> subprocess.Popen[bytes]:
    environment = {key: value for key, value in os.environ.items() if key != POLICY.variable}
    if token is not None:  # not among the arguments, where every user of the machine sees it
        environment[POLICY.variable] = token
    with (run_dir / LOG).open("wb") as log:
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
    log = (run_dir / LOG).read_text("utf-8", "replace").strip().splitlines()
    stop(run_dir)
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


def _process(daemon: Daemon) -> psutil.Process | None:
    # The start time tells our process from a later one with the same number.
    try:
        process = psutil.Process(daemon.pid)
        ours = abs(process.create_time() - daemon.process_started_s) < 1.0
        return process if ours and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
