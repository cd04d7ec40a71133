"""The page's WebSocket: viewers receive what changed, at most once a second, and may not send."""

import asyncio
import re
import time
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from pillsnap.monitor.hub import Hub
from pillsnap.web.server import most_connections

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
