"""A command in its own session: its output line by line, and an end that leaves nothing running."""

import codecs
import math
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

STOP_WITHIN_S = 7.0  # from the first signal until what is left is killed: all is over in 10
TICK_S = 0.2
LONGEST_LINE = 20_000  # characters; a child that never ends a line must not fill the memory
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Dies with us (SIGTERM), however we end: dvc's stages die with dvc in the same way, and save first.
_BOUND = (
    "import ctypes, os, sys; "
    "sys.platform == 'linux' and ctypes.CDLL(None).prctl(1, 15); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)


class ProcessGroup:
    """A running command and all it starts; use as a context manager.

    SIGINT, SIGTERM and SIGHUP to us become one SIGINT to the group: dvc then waits for its
    stage, which saves and ends (a SIGTERM would end dvc first and reach the stage twice). A
    second signal, or STOP_WITHIN_S without an end, kills what is left.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], cwd: Path) -> None:
        self.interrupted = False
        self._command, self._environment, self._cwd = command, environment, cwd
        self._deadline_s = math.inf
        self._before: dict[signal.Signals, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "ProcessGroup":
        for number in SIGNALS:  # before the start, so that none is missed
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays nohup
                self._before[number] = signal.signal(number, self._on_signal)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOUND, *self._command],
            cwd=self._cwd,
            env=dict(self._environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        if self.interrupted:
            self._interrupt()
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def lines(self) -> Iterator[str | None]:
        """Every line as it comes, without its end, and None every TICK_S when there is none, until
        all processes have ended."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pending = ""
        for block in self._blocks():
            *whole, pending = (pending + decoder.decode(block)).split("\n")
            yield from whole
            if not whole:
                yield None
            if len(pending) > LONGEST_LINE:
                pending = pending.rpartition("\r")[2][-LONGEST_LINE:]
        if pending:
            yield pending

    def exit_code(self) -> int:
        """The command's exit code; negative where a signal ended it."""
        assert self._process is not None
        return self._process.wait()

    def _blocks(self) -> Iterator[bytes]:
        assert self._process and self._process.stdout
        with self._process.stdout as pipe, selectors.DefaultSelector() as selector:
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ)
            is_open = True
            while is_open or self._alive():
                if is_open and selector.select(TICK_S):
                    block = os.read(pipe.fileno(), 1 << 16)
                    is_open = bool(block)
                    yield block
                else:
                    yield b""
                    if not is_open:
                        time.sleep(TICK_S)
                if self._process.poll() is not None:
                    self._set_deadline()  # whoever outlives the command gets its time, no more
                    is_open = is_open and bool(self._alive() or selector.select(0))
                if time.monotonic() > self._deadline_s:
                    self._kill()

    def _set_deadline(self) -> None:
        self._deadline_s = min(self._deadline_s, time.monotonic() + STOP_WITHIN_S)

    def _on_signal(self, *_: object) -> None:
        again, self.interrupted = self.interrupted, True
        if self._process:
            (self._kill if again else self._interrupt)()

    def _interrupt(self) -> None:
        assert self._process
        self._set_deadline()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGINT)

    def _alive(self) -> list[int]:
        """Processes of the session that still run (a zombie is waited for by someone else)."""
        assert self._process
        self._process.poll()
        return [pid for pid in psutil.pids() if _runs_in(self._process.pid, pid)]

    def _kill(self) -> None:
        for pid in self._alive():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _runs_in(session: int, pid: int) -> bool:
    ended = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    try:
        return os.getsid(pid) == session and psutil.Process(pid).status() not in ended
    except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
        return False
