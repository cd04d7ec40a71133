"""The log of a command, logs/<time>-<name>.log, and the terminal: everything goes to both."""

import logging
import re
import sys
import time
from contextlib import suppress
from datetime import datetime
from io import StringIO
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

PART_BYTES = 4 << 20
PARTS = 3  # of one run: the newest and two before it
RUNS = 20
LOG_WIDTH = 110  # columns of a table in the log
FORMAT = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s  %(message)s")

LOG_NAME = re.compile(r"\d{8}-\d{6}-[a-z_]+\.log(\.\d+)?")
ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def clean(text: str) -> str:
    """What a terminal would show of a line: after the last carriage return, without escapes."""
    parts = [part for part in ESCAPE.sub("", text).split("\r") if part.strip()]
    return CONTROL.sub("", parts[-1]).rstrip() if parts else ""


class LogFile(RotatingFileHandler):
    """The log of one run of a command; one that cannot be written (disk full, read-only) is
    reported once on stderr and never stops the run."""

    def __init__(self, logs_dir: Path, name: str, now: datetime) -> None:
        self.path = logs_dir / f"{now:%Y%m%d-%H%M%S}-{name}.log"
        with suppress(OSError):  # reported with the first line
            logs_dir.mkdir(parents=True, exist_ok=True)
            named = [path for path in logs_dir.iterdir() if LOG_NAME.fullmatch(path.name)]
            kept = sorted({path.name.partition(".")[0] for path in named})[1 - RUNS :]
            for path in named:
                if path.name.partition(".")[0] not in kept:
                    path.unlink(missing_ok=True)
        old = PARTS - 1
        super().__init__(self.path, "a", PART_BYTES, old, "utf-8", delay=True, errors="replace")
        self.setFormatter(FORMAT)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        """Give the log up and say why."""
        self.addFilter(lambda _: False)
        stream, self.stream = self.stream, None  # type: ignore[assignment]
        with suppress(OSError):  # what is buffered cannot be written either
            if stream:
                stream.close()
        print(f"The log {self.path} is not written: {sys.exc_info()[1]}.", file=sys.stderr)


class Output:
    """Writes to the terminal and to the log of the command `name`; use as a context manager."""

    def __init__(self, name: str, logs_dir: Path) -> None:
        self.log = LogFile(logs_dir, name, datetime.now())
        self._name = name
        self._console = _console()

    def __enter__(self) -> "Output":
        return self

    def __exit__(self, *_: object) -> None:
        self.log.close()

    def line(self, text: str) -> None:
        """A line of DVC, as it came."""
        self._console.print(Text(text), soft_wrap=True)
        self.log.handle(_record("dvc", "INFO", text))

    def event(self, stage: str, level: str, text: str, time_s: float) -> None:
        """A log line of a stage, with the time at which it was written (unix seconds)."""
        record = _record(stage, level, text, time_s)
        self._console.print(Text(FORMAT.format(record)), soft_wrap=True)
        self.log.handle(record)

    def show(self, what: RenderableType, level: str = "INFO") -> None:
        """Something of the command's own: a text, a table."""
        is_text = not isinstance(what, Table)  # commands are copied: they must not be broken
        self._console.print(what, soft_wrap=is_text)
        page = StringIO()
        _console(file=page, width=LOG_WIDTH, color_system=None).print(what, soft_wrap=is_text)
        for text in page.getvalue().splitlines():
            self.log.handle(_record(self._name, level, text.rstrip()))


def _record(name: str, level: str, text: str, time_s: float | None = None) -> logging.LogRecord:
    now_ms = round((time.time() if time_s is None else time_s) * 1000)
    times = {"created": now_ms / 1000, "msecs": now_ms % 1000}
    return logging.makeLogRecord({"name": name, "levelname": level, "msg": text, **times})


def _console(**settings: Any) -> Console:
    """A console that takes texts as they are: [brackets] and :colons: are no markup."""
    return Console(highlight=False, markup=False, emoji=False, **settings)
