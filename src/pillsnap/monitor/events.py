"""Reads events of all stages from `live/events.jsonl`, one JSON object per line, as it grows."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import orjson

from pillsnap.places import STAGES

KINDS = ("start", "progress", "epoch", "log", "failure", "end")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
CHUNK_BYTES = 1 << 18
LONGEST_LINE_BYTES = 1 << 20
LONGEST_TEXT = 2000
LATEST_TIME_S = 1e11  # the year 5138: anything later is not a time stamp
MOST_CURES = 10
TAIL_BYTES = 256  # enough for a time stamp, which no two lines share

# A log line must not send control sequences to a terminal.
_CONTROL = dict.fromkeys(set(range(32)) - {ord("\n"), ord("\t")} | {127})


@dataclass(frozen=True, slots=True)
class Event:
    time_s: float
    stage: str
    kind: str
    run: str
    epoch: int | None
    step: int | None
    total: int | None
    metrics: Mapping[str, float | None]
    hardware: Mapping[str, float | str]
    message: str
    level: str
    cause: str
    cures: tuple[str, ...]


def parse(line: bytes) -> Event | None:
    try:
        raw = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(raw, dict) or raw.get("stage") not in STAGES or raw.get("kind") not in KINDS:
        return None
    time_s, cures = raw.get("time"), raw.get("cures")
    if not _is_number(time_s) or not 0 <= time_s < LATEST_TIME_S:
        return None
    return Event(
        time_s=float(time_s),
        stage=raw["stage"],
        kind=raw["kind"],
        run=_text(raw.get("run"))[:32],
        epoch=_count(raw.get("epoch")),
        step=_count(raw.get("step")),
        total=_count(raw.get("total")),
        metrics={key: float(v) if _is_number(v) else None for key, v in _items(raw, "metrics")},
        hardware=_hardware(_items(raw, "hardware")),
        message=_text(raw.get("message")),
        level=raw["level"] if raw.get("level") in LEVELS else "INFO",
        cause=_text(raw.get("cause")),
        cures=tuple(map(_text, cures[:MOST_CURES])) if isinstance(cures, list) else (),
    )


class NewEvents(NamedTuple):
    """The events of one read; `restarted`: forget everything read before. `more`: read again."""

    events: tuple[Event, ...]
    restarted: bool
    more: bool


class EventReader:
    """Reads a growing file in chunks; detects that it was truncated or replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.skipped = 0
        self._offset = 0
        self._tail = b""

    def read(self) -> NewEvents:
        """Events since the last call, from at most `CHUNK_BYTES` of the file (OSError passes)."""
        try:
            with self.path.open("rb") as file:
                # By content: inodes are reused, and a cut file may have grown past the offset.
                begin = self._offset - len(self._tail)
                same = os.pread(file.fileno(), len(self._tail), begin) == self._tail
                return self._batch(file.fileno(), restarted=not same and self._forget())
        except FileNotFoundError:
            return NewEvents((), restarted=self._forget(), more=False)

    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def _batch(self, descriptor: int, restarted: bool) -> NewEvents:
        chunk = os.pread(descriptor, CHUNK_BYTES, self._offset)
        if len(chunk) == CHUNK_BYTES and b"\n" not in chunk:
            chunk = os.pread(descriptor, LONGEST_LINE_BYTES, self._offset)
        end = chunk.rfind(b"\n") + 1
        if not end and len(chunk) == LONGEST_LINE_BYTES:
            end = len(chunk)  # no event is this long: skip it
        whole = chunk[:end]
        parsed = [parse(line) for line in whole.split(b"\n") if line.strip()]
        events = tuple(event for event in parsed if event is not None)
        self.skipped += len(parsed) - len(events)
        self._offset += end
        self._tail = (self._tail + whole)[-TAIL_BYTES:]
        more = end > 0 and os.fstat(descriptor).st_size > self._offset
        return NewEvents(events, restarted, more)

    def _forget(self) -> bool:
        known = self._offset > 0
        self._offset, self._tail, self.skipped = 0, b"", 0
        return known


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _count(value: Any) -> int | None:
    return int(value) if _is_number(value) and 0 <= value < 2**53 else None


def _text(value: Any) -> str:
    return value[:LONGEST_TEXT].translate(_CONTROL) if isinstance(value, str) else ""


def _items(raw: dict[str, Any], name: str) -> Iterable[tuple[str, Any]]:
    return raw[name].items() if isinstance(raw.get(name), dict) else ()


def _hardware(items: Iterable[tuple[str, Any]]) -> dict[str, float | str]:
    kept = ((key, item) for key, item in items if _is_number(item) or isinstance(item, str))
    return {key: item[:100] if isinstance(item, str) else float(item) for key, item in kept}
