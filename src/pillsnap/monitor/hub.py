"""The newest state in sections, each with the number of its last change.

Nothing is queued for a client: one that was slow gets one message with all it missed.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import orjson

Json = dict[str, Any]
Section = tuple[str, str]  # a key of the state, and a key inside it ("" for the whole value)


class Hub:
    def __init__(self) -> None:
        # Counts on from the clock, so that a client of an earlier server has nothing of this one.
        self.seq = time.time_ns() // 1000
        self.state: Json = {}
        self._values: dict[Section, Any] = {}
        self._changed: dict[Section, int] = {}
        self._built: dict[int, bytes] = {}
        self._news = asyncio.Event()

    def publish(self, state: Json) -> None:
        """Make this the newest state; nothing happens where nothing changed."""
        values = dict(_sections(state))
        changed = [key for key, value in values.items() if self._values.get(key, self) != value]
        if not changed:
            return
        self.seq += 1
        self.state, self._values = state, values
        self._changed.update(dict.fromkeys(changed, self.seq))
        self._built.clear()
        self._news.set()
        self._news = asyncio.Event()

    async def wait_past(self, seq: int, timeout_s: float) -> None:
        """Return once there is something newer than `seq`, or after `timeout_s`."""
        if self.seq == seq:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), timeout_s)

    def message(self, since: int, now_s: float) -> bytes:
        """What a client that has state `since` misses; everything where it is not one of ours."""
        # Rounded down to a change that counts: few messages are built, whatever clients ask.
        since = max((seq for seq in self._changed.values() if seq <= since <= self.seq), default=0)
        if since not in self._built:
            news: dict[str, Any] = {}
            for (outer, inner), seq in self._changed.items():
                if seq > since and inner:
                    news.setdefault(outer, {})[inner] = self._values[outer, inner]
                elif seq > since:
                    news[outer] = self._values[outer, inner]
            self._built[since] = orjson.dumps({"seq": self.seq, "set": news})
        return b'{"now":%.3f,' % now_s + self._built[since][1:]


def _sections(state: Mapping[str, Any]) -> Iterator[tuple[Section, Any]]:
    for outer, value in state.items():
        if isinstance(value, dict):
            yield from (((outer, inner), part) for inner, part in value.items())
        else:
            yield (outer, ""), value
