"""Log files of the commands, logs/<time>-<name>.log: every line with time, level and stage.

A file that grows past its limit is cut into parts, and old runs are removed.
"""

import re
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from io import RawIOBase, StringIO
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

PART_BYTES = 4 << 20
PARTS = 3  # of one run: the newest and two before it
RUNS = 20
LOG_WIDTH = 110  # columns of a table in the log

LOG_NAME = re.compile(r"(\d{8}-\d{6}-[a-z_]+\.log)(\.\d+)?")
ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
STAGE_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ([A-Z]+) +(\w+)  (.*)")
STAGE_BEGINS = re.compile(
    r"Running stage '(?:[^':]*:)?(\w+)'|Stage '(?:[^':]*:)?(\w+)' (?:is|didn)"
)
REFUSAL = re.compile(r"(build_manifest|validate|train_detection|train_classification|evaluate): ")


@dataclass(frozen=True)
class Line:
    """A line of output, sorted by who says it and how grave it is."""

    level: str
    stage: str
    text: str


def clean(text: str) -> str:
    """What a terminal would show of a line: after the last carriage return, without escapes."""
    parts = [part for part in ESCAPE.sub("", text).split("\r") if part.strip()]
    return CONTROL.sub("", parts[-1]).rstrip() if parts else ""


class LineSorter:
    """Tells level and stage of each line that DVC and the stages print; call it in order."""

    def __init__(self, name: str) -> None:
        self._stage = name
        self._in_traceback = False

    def __call__(self, text: str) -> Line:
        told = STAGE_LINE.fullmatch(text)
        if told:
            self._in_traceback = False
            return Line(told[1], told[2], told[3])
        begins = STAGE_BEGINS.match(text)
        if begins:
            self._stage = begins[1] or begins[2]
        return Line(self._level(text), self._stage, text)

    def _level(self, text: str) -> str:
        if text.startswith("Traceback (most recent call last)"):
            self._in_traceback = True
        elif self._in_traceback and text and not text.startswith(" "):
            self._in_traceback = False
            return "ERROR"  # the line that names the exception
        if self._in_traceback or text.startswith(("ERROR", "  -> ")) or REFUSAL.match(text):
            return "ERROR"
        return "WARNING" if text.startswith("WARNING") else "INFO"


class LogFile:
    """The log of one run of a command; use as a context manager.

    A log that cannot be written (disk full, read-only) is said once on stderr and never stops
    the run.
    """

    def __init__(self, logs_dir: Path, name: str, now: datetime) -> None:
        self.path = logs_dir / f"{now:%Y%m%d-%H%M%S}-{name}.log"
        self._file: RawIOBase | None = None
        self._bytes = 0

    def __enter__(self) -> "LogFile":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            prune(self.path.parent, RUNS - 1)
            self._file = self.path.open("ab", buffering=0)
            self._bytes = self.path.stat().st_size
        except OSError as error:
            self._give_up(error)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def write(self, line: Line, now: datetime) -> None:
        """Append a line: `2025-11-23 15:37:01,204 INFO    validate  the text`."""
        if self._file is None:
            return
        stamp = f"{now:%Y-%m-%d %H:%M:%S},{now.microsecond // 1000:03d}"
        text = f"{stamp} {line.level:<7} {line.stage}  {line.text}".rstrip() + "\n"
        try:
            content = text.encode("utf-8", "replace")
            if self._bytes + len(content) > PART_BYTES and self._bytes:
                self._file = self._next_part(self._file)
            self._file.write(content)
            self._bytes += len(content)
        except OSError as error:
            self._give_up(error)

    def _next_part(self, file: RawIOBase) -> RawIOBase:
        file.close()
        for number in range(PARTS - 1, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            newer = self.path.with_name(f"{self.path.name}.{number - 1}")
            with suppress(FileNotFoundError):
                (newer if number > 1 else self.path).replace(older)
        self._bytes = 0
        return self.path.open("ab", buffering=0)

    def _give_up(self, error: OSError) -> None:
        if self._file:
            self._file.close()
        self._file = None
        print(f"The log {self.path} is not written: {error.strerror}.", file=sys.stderr)


def prune(logs_dir: Path, runs: int) -> None:
    """Keep the newest `runs` logs with their parts; other files are left alone."""
    parts: dict[str, list[Path]] = {}
    for path in sorted(logs_dir.iterdir()):
        named = LOG_NAME.fullmatch(path.name)
        if named:
            parts.setdefault(named[1], []).append(path)
    for name in sorted(parts)[: max(0, len(parts) - runs)]:
        for path in parts[name]:
            path.unlink(missing_ok=True)


@dataclass
class Voice:
    """Says everything twice: on the terminal and in the log."""

    name: str
    log: LogFile
    console: Console = field(default_factory=lambda: _console())

    def line(self, line: Line) -> None:
        """A line of a stage or of DVC, as it came."""
        self.console.print(Text(line.text), soft_wrap=True)
        self.log.write(line, datetime.now())

    def say(self, what: RenderableType, level: str = "INFO") -> None:
        """Something of our own: a text, a table."""
        is_text = not isinstance(what, Table)  # commands are copied: they must not be broken
        self.console.print(what, soft_wrap=is_text)
        page = StringIO()
        _console(file=page, width=LOG_WIDTH, color_system=None).print(what, soft_wrap=is_text)
        for text in page.getvalue().splitlines():
            self.log.write(Line(level, self.name, text.rstrip()), datetime.now())


def _console(**settings: Any) -> Console:
    """A console that takes texts as they are: [brackets] and :colons: are no markup."""
    return Console(highlight=False, markup=False, emoji=False, **settings)
