"""The newest state in sections, and the page's WebSocket: viewers receive what changed.

At most once a second; nothing is queued for a client: one that was slow gets one message with all
it missed. Viewers may not send.
"""

import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from pillsnap.files import Json
from pillsnap.web.server import most_connections

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


TICK_S = 15.0  # a client that receives nothing for three of these connects again
MOST_VIEWERS = 256
BYTES_PER_S = 64  # pings and pongs: clients send about 20 bytes in 20 s
MOST_BYTES = 2048  # at once


class ViewerProtocol(WebSocketsSansIOProtocol):
    """A WebSocket whose client only listens: one that sends, or stops reading, is cut off."""

    _allowance = float(MOST_BYTES)
    _received_s: float | None = None

    def data_received(self, data: bytes) -> None:
        if self.handshake_complete:
            now_s = self.loop.time()
            since_s = now_s - (self._received_s or now_s)
            self._allowance = min(MOST_BYTES, self._allowance + since_s * BYTES_PER_S) - len(data)
            self._received_s = now_s
            if self._allowance < 0:
                self.transport.abort()
                return
        super().data_received(data)

    def keepalive_timeout(self) -> None:
        """No pong came: what waits to be sent is never going to be read."""
        super().keepalive_timeout()
        self.transport.abort()


class Viewers:
    def __init__(self, hub: Hub, poll_s: float) -> None:
        self._hub, self._poll_s = hub, poll_s
        self._most = min(MOST_VIEWERS, most_connections() // 2)
        self.count = 0

    async def serve(self, websocket: WebSocket) -> None:
        """Send to one client until it leaves, or is asked to because it sent something."""
        await websocket.accept()
        if self.count >= self._most:
            await websocket.close(1013, "too many viewers")
            return
        self.count += 1
        sending = asyncio.create_task(self._send(websocket))
        try:
            if (await websocket.receive())["type"] != "websocket.disconnect":
                await websocket.close(1008, "this socket takes no messages")
        finally:
            self.count -= 1
            sending.cancel()
            with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await sending

    async def _send(self, websocket: WebSocket) -> None:
        known = websocket.query_params.get("since", "")  # the number of the client's state
        since = int(known) if re.fullmatch("[0-9]{1,19}", known) else 0
        while True:
            await self._hub.wait_past(since, TICK_S)
            text = self._hub.message(since, time.time()).decode()
            since = self._hub.seq
            await websocket.send_text(text)
            await asyncio.sleep(self._poll_s)
