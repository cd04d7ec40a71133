"""Events and log lines of a running stage: events.jsonl for the monitor, the rest for the terminal.

Each event is one JSON line appended with a single write, so readers see whole lines only.
The schema is in docs/monitor.md.
"""

import os
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from pillsnap import files
from pillsnap.stage.hardware import HardwareSampler, Sample

Metrics = Mapping[str, float | None]

CONSOLE_VARIABLE = "PILLSNAP_CONSOLE"  # off: no log lines on stderr, `pillsnap train` prints events
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
HEARTBEAT_S = 60.0
PROGRESS_S = 1.0
SETTLED = 0.1  # part of the work before which no time is estimated: workers answer in bursts


class RunLog:
    """Writes the events and log lines of one stage run; use as a context manager."""

    def __init__(self, stage: str, live_dir: Path, level: str = "INFO") -> None:
        self.stage = stage
        self._path = live_dir / "events.jsonl"
        self._run = uuid.uuid4().hex[:8]
        self._least = LOG_LEVELS.index(level)
        self._console = os.environ.get(CONSOLE_VARIABLE) != "off"
        self._hardware = HardwareSampler(Path())
        self._rate, self._pace = _Rate(), _Rate()
        self._last_progress_s = self._last_heartbeat_s = 0.0
        self._bar: Bar | None = None

    def __enter__(self) -> "RunLog":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._hardware.__enter__()
        self._bar = Bar(self.stage) if sys.stderr.isatty() else None
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()
        self._hardware.__exit__()

    def info(self, message: str) -> None:
        """A line of progress."""
        self._line("INFO", message)

    def warning(self, message: str) -> None:
        """A line about a problem that does not end the run."""
        self._line("WARNING", message)

    def start(
        self,
        total: int | None = None,
        epoch: int = 0,
        goals: Metrics | None = None,
        config: str = "",
    ) -> None:
        """The run begins: `total` epochs or units, of which `epoch` were complete before."""
        self._emit("start", epoch=epoch or None, total=total, metrics=goals or {}, message=config)

    def progress(
        self, step: int, total: int, epoch: int | None = None, metrics: Metrics | None = None
    ) -> None:
        """`step` of `total` units are done. Cheap: writes at most once a second."""
        now_s = time.monotonic()
        if self._bar:
            self._bar.update(step, total, epoch)
        if now_s - self._last_progress_s < PROGRESS_S and step < total:
            return
        self._last_progress_s = now_s
        per_second = self._rate.at(step, total, now_s)
        measured = {"per_second": per_second, **(metrics or {})}
        self._emit("progress", epoch=epoch, step=step, total=total, metrics=measured)
        if not self._bar and now_s - self._last_heartbeat_s >= HEARTBEAT_S:
            pace = self._pace.at(step, total, now_s)  # of a minute
            if self._last_heartbeat_s:
                self.info(_heartbeat(step, total, epoch, pace or per_second))
            self._last_heartbeat_s = now_s

    def due(self) -> bool:
        """Whether `progress` would write now; metrics that need a device sync wait until then."""
        return time.monotonic() - self._last_progress_s >= PROGRESS_S

    def follow_gpu(self, uuid: str | None) -> None:
        """Sample the GPU with this UUID from now on (None: the CPU is used, nothing changes)."""
        if uuid is not None:
            self._hardware.follow(uuid)

    def hardware(self) -> Sample:
        """Mean of the hardware samples since the last call."""
        return self._hardware.mean()

    def epoch(self, epoch: int, total: int, metrics: Metrics, hardware: Sample) -> None:
        """An epoch is complete: one event and one line."""
        self._emit("epoch", epoch=epoch, total=total, metrics=metrics, hardware=hardware)
        values = "  ".join(f"{name} {_short(value)}" for name, value in metrics.items())
        self.info(f"epoch {epoch}/{total}  {values}")

    def failure(self, fact: str, cause: str, cures: list[str]) -> None:
        """The run ends without its outputs."""
        self._emit("failure", level="ERROR", message=fact, cause=cause, cures=cures)

    def end(self, metrics: Metrics, message: str) -> None:
        """The run is complete."""
        self._emit("end", metrics=metrics, message=message)
        self.info(message)

    def _line(self, level: str, message: str) -> None:
        if LOG_LEVELS.index(level) < self._least:
            return
        self._emit("log", level=level, message=message)
        if self._console:
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            with suppress(OSError):  # the terminal is gone
                print(f"{now} {level:<7} {self.stage}  {message}", file=sys.stderr, flush=True)

    def _emit(self, kind: str, **facts: Any) -> None:
        event = {
            "time": round(time.time(), 3),
            "stage": self.stage,
            "kind": kind,
            "run": self._run,
            **dict.fromkeys(("epoch", "step", "total")),
            "metrics": {},
            "hardware": self._hardware.newest(),
            "message": "",
            "level": "INFO",
            **facts,
        }
        line = files.json_bytes(event, orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY)
        with suppress(OSError):  # a full disk must neither end the run nor hide the error
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)


class _Rate:
    """Units a second since the last reading; None where another count has begun."""

    def __init__(self) -> None:
        self._step, self._total, self._time_s = 0, 0, time.monotonic()

    def at(self, step: int, total: int, now_s: float) -> float | None:
        elapsed_s, done = now_s - self._time_s, step - self._step
        same = total == self._total
        self._step, self._total, self._time_s = step, total, now_s
        return round(done / elapsed_s, 2) if same and done > 0 and elapsed_s > 0 else None


class _Remaining(TimeRemainingColumn):
    """The time left, once the rate has settled."""

    def render(self, task: Task) -> Text:
        settled = task.total and task.completed >= SETTLED * task.total
        return super().render(task) if settled else Text("-:--:--", style="progress.remaining")


class Bar:
    """A rich progress bar on a terminal; nothing elsewhere."""

    def __init__(self, stage: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Remaining(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._progress.add_task(stage, total=None)
        self._stage = stage
        self._progress.start()

    def update(self, step: int, total: int, epoch: int | None = None) -> None:
        """`step` of `total` units are done."""
        name = self._stage if epoch is None else f"{self._stage} epoch {epoch}"
        self._progress.update(self._task, description=name, completed=step, total=total)

    def stop(self) -> None:
        """Clear the line."""
        self._progress.stop()


def _heartbeat(step: int, total: int, epoch: int | None, per_second: float | None) -> str:
    where = f"epoch {epoch}, " if epoch is not None else ""
    rate = f", {per_second:.1f}/s, {(total - step) / per_second:.0f} s left" if per_second else ""
    return f"{where}{step} of {total}{rate}"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
