"""The newest state under a sequence number, and for any client what changed since it last heard.

Nothing is queued for a client: one that was slow gets a single message with all it missed.
"""

import asyncio
import secrets
from collections import deque
from typing import Any

import orjson

from pillsnap.monitor.view import Json

MOST_MARKS = 600  # publications a client may lag behind before it gets everything again


class Hub:
    """Holds what the page shows; `publish` numbers changes, `message` tells them."""

    def __init__(self) -> None:
        self.seq = 0
        self.generation = secrets.token_hex(4)
        self._sections: dict[str, Json] = {}
        self._logs: list[Json] = []
        self._history: list[Any] = []
        self._changed: dict[tuple[str, str], int] = {}
        self._marks: deque[tuple[int, int, int]] = deque(maxlen=MOST_MARKS)
        self._totals = (0, 0)
        self._built: dict[int | None, bytes] = {}
        self._news = asyncio.Event()

    def restart(self) -> None:
        """Forget what clients know: the next message to each holds everything."""
        self.generation = secrets.token_hex(4)
        self._changed.clear()
        self._marks.clear()

    def publish(
        self,
        sections: dict[str, Json],
        logs: list[Json],
        num_logs: int,
        history: list[Any],
        num_history: int,
    ) -> None:
        """Make this the newest state; nothing happens where nothing changed."""
        changed = [
            (outer, inner)
            for outer, group in sections.items()
            for inner, value in group.items()
            if not self._marks or self._sections[outer].get(inner, self) != value
        ]
        totals = (num_logs, num_history)
        if not changed and totals == self._totals and self._marks:
            return
        self.seq += 1
        self._changed.update(dict.fromkeys(changed, self.seq))
        self._sections, self._logs, self._history = sections, logs, history
        self._totals = totals
        self._marks.append((self.seq, *totals))
        self._built.clear()
        self._news.set()
        self._news = asyncio.Event()

    async def wait_past(self, seq: int, timeout_s: float) -> bool:
        """True once there is something newer than `seq`, False after `timeout_s` without."""
        if self.seq > seq:
            return True
        try:
            await asyncio.wait_for(self._news.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def message(self, since: int | None, generation: str, now_s: float) -> bytes:
        """The WebSocket message for a client that knows state `since` of `generation`."""
        mark = next((m for m in self._marks if m[0] == since), None)
        if generation != self.generation:
            mark = None
        key = mark[0] if mark else None
        if key not in self._built:
            body = self._delta(*mark) if mark else {"type": "state", "state": self.state()}
            head = {"seq": self.seq, "generation": self.generation}
            self._built[key] = orjson.dumps({**head, **body})
        return b'{"now":%.3f,' % now_s + self._built[key][1:]

    def state(self) -> Json:
        """Everything, as `GET /api/state` gives it."""
        return {**self._sections, "logs": self._logs, "history": self._history}

    def _delta(self, since: int, logs_then: int, history_then: int) -> Json:
        news: dict[str, Json] = {}
        for (outer, inner), seq in self._changed.items():
            if seq > since:
                news.setdefault(outer, {})[inner] = self._sections[outer][inner]
        num_logs, num_history = self._totals
        return {
            "type": "delta",
            "since": since,
            "set": news,
            "append": {
                "logs": _newest(self._logs, num_logs - logs_then),
                "history": _newest(self._history, num_history - history_then),
            },
        }


def _newest(items: list[Any], count: int) -> list[Any]:
    return items[-count:] if count > 0 else []
