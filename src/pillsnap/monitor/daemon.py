"""The monitor in the background: started once, found again, stopped; it holds a lock while it runs.

The child, `python -m pillsnap.monitor.daemon ARTIFACTS_DIR HOST FD RUN_DIR [PROXY...]`, inherits
the locked file and the listening socket, so neither can fail after it started. It records itself:
it is found and stopped even if its starter was killed.
"""

import fcntl
import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from pillsnap import files
from pillsnap.errors import MachineError, UserError
from pillsnap.monitor.policy import POLICY
from pillsnap.web.guard import HEALTH, access_for
from pillsnap.web.listener import address, listen, local

LOCK, RECORD, LOG = "monitor.lock", "monitor.json", "monitor.log"
READY_WITHIN_S = 15.0
STOP_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Daemon:
    """A monitor in the background, as monitor.json records it."""

    pid: int
    host: str
    port: int
    artifacts_dir: str

    @property
    def url(self) -> str:
        return address(self.host, self.port)


def start(
    artifacts_dir: Path, host: str, port: int, run_dir: Path, proxies: Sequence[str] = ()
) -> Daemon:
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / LOCK).open("a") as lock:
        if not _locked(lock.fileno()):
            other = running(run_dir)
            where = f" at {other.url} (pid {other.pid}, {other.artifacts_dir})" if other else ""
            fact = f"A monitor runs in the background already{where}."
            raise MachineError(fact, "Stop it: pillsnap monitor --stop")
        (run_dir / RECORD).unlink(missing_ok=True)  # of one that was killed
        with listen(host, port, "pillsnap monitor --daemon") as listener:
            arguments = [str(artifacts_dir), host, str(listener.fileno()), str(run_dir), *proxies]
            child = _spawn(arguments, run_dir, lock.fileno(), listener.fileno())
            bound = int(listener.getsockname()[1])
    daemon = Daemon(child.pid, host, bound, str(artifacts_dir))
    _await_answer(daemon, child, run_dir)
    return daemon


def running(run_dir: Path) -> Daemon | None:
    """The monitor in the background, or None where none is alive."""
    try:
        with (run_dir / LOCK).open("rb") as lock:
            if _locked(lock.fileno()):
                return None
        return Daemon(**files.read_json(run_dir / RECORD, "pillsnap monitor --daemon"))
    except (OSError, UserError, TypeError):
        return None


def stop(run_dir: Path) -> Daemon | None:
    """Stop the monitor in the background; returns what was stopped, None where nothing ran."""
    daemon = running(run_dir)
    if daemon is not None:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(daemon.pid)
            process.terminate()
            _, alive = psutil.wait_procs([process], STOP_WITHIN_S)
            for stubborn in alive:
                stubborn.kill()
            psutil.wait_procs(alive, STOP_WITHIN_S)
    (run_dir / RECORD).unlink(missing_ok=True)
    return daemon


def _spawn(arguments: Sequence[str], run_dir: Path, *inherited: int) -> subprocess.Popen[bytes]:
    # The token stays in the environment: every user of the machine sees arguments.
    with (run_dir / LOG).open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "pillsnap.monitor.daemon", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=inherited,
            start_new_session=True,
        )


def _await_answer(daemon: Daemon, child: subprocess.Popen[bytes], run_dir: Path) -> None:
    # The socket listens already; it is closed where the child ends.
    host, port = local(daemon.host), daemon.port
    connection = http.client.HTTPConnection(host, port, timeout=READY_WITHIN_S)
    with closing(connection), suppress(OSError, http.client.HTTPException):
        connection.request("GET", HEALTH)
        if connection.getresponse().status == http.client.OK:
            child.returncode = 0  # it outlives this process: keeps Popen from warning about it
            return
    log = (run_dir / LOG).read_text("utf-8", "replace").strip().splitlines()
    child.kill()
    child.wait()
    raise MachineError(
        f"The monitor did not start: {' | '.join(log[-3:])}",
        f"Read {run_dir / LOG}, or run it in the foreground: pillsnap monitor",
    )


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def main() -> None:
    """The child: serve on the inherited socket until SIGTERM."""
    from pillsnap.monitor.server import create_app, server

    artifacts_dir, host, descriptor, run_dir, *proxies = sys.argv[1:]
    access = access_for(POLICY, host, os.environ.get(POLICY.variable), proxies)
    listener = socket.socket(fileno=int(descriptor))
    daemon = Daemon(os.getpid(), host, int(listener.getsockname()[1]), artifacts_dir)
    files.write_json(Path(run_dir) / RECORD, asdict(daemon))
    server(create_app(Path(artifacts_dir), access)).run(sockets=[listener])


if __name__ == "__main__":
    main()
