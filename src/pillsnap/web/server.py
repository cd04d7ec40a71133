"""uvicorn within limits: how many connections are held, and how long one may keep its place.

uvicorn 0.54 has no deadline for a request's headers, nor for a client that stops reading.
"""

import asyncio
import resource
import socket
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S = 10.0  # from opening a connection, or from the last answer, to the end of the headers
READING_S = 60.0  # without reading, while an answer waits to be sent
MOST_CONNECTIONS = 1024
ACCEPTED_AT_ONCE = 16  # asyncio looks at none of them before it has accepted all
LARGEST_FRAME_BYTES = 1024  # of a WebSocket's client; nothing here expects more
QUEUED = 1024  # connections that the system holds until they are accepted


class LimitedProtocol(H11Protocol):
    """An HTTP/1.1 connection that ends when its client keeps the server waiting."""

    waiting_since_s: float | None = None  # None: a request is being read or answered
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Expect a request; where many connections wait, the one that waited longest ends."""
        super().connection_made(transport)
        self._wait(True)
        limited = (one for one in self.connections if isinstance(one, LimitedProtocol))
        open_ones = [one for one in limited if not one.transport.is_closing()]
        waiting = [one for one in open_ones if one.waiting_since_s is not None]
        if len(waiting) > (self.limit_concurrency or MOST_CONNECTIONS) // 3:
            min(waiting, key=lambda one: one.waiting_since_s or 0.0).transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read on; the deadline ends with the last header and begins again after the answer."""
        super().data_received(data)
        if self.transport.get_protocol() is self:  # else it has become a WebSocket
            self._wait(self.cycle is None or self.cycle.response_complete)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait(self.cycle.response_complete)

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed request, unless its route has begun to; drop what the route sends."""
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._wait(False)
        super().handle_websocket_upgrade(event)

    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered: it may not stop for good."""
        super().pause_writing()
        self._set_deadline()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._deadline:
            self._deadline.cancel()

    def _wait(self, waiting: bool) -> None:
        if waiting != (self.waiting_since_s is not None):
            self.waiting_since_s = self.loop.time() if waiting else None
            self._set_deadline()

    def _set_deadline(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None
        if self.flow.write_paused:
            self._deadline = self.loop.call_later(READING_S, self.transport.abort)
        elif self.waiting_since_s is not None:
            self._deadline = self.loop.call_later(REQUEST_S, self.transport.abort)


class Server(uvicorn.Server):
    """uvicorn with a queue longer than what it accepts at once; it has one number for both."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(QUEUED)


def server(app: Any, shutdown_s: int, ws: "type[asyncio.Protocol] | None" = None) -> Server:
    """A server for `app`; after SIGTERM it gives requests `shutdown_s` seconds to finish.

    `ws` is uvicorn's protocol class for WebSockets, None where there are none. Neither requests
    (their addresses may hold a token) nor malformed ones (anyone can send them) are logged.
    """
    config = uvicorn.Config(
        app,
        http=LimitedProtocol,
        ws=ws or "none",
        backlog=ACCEPTED_AT_ONCE,
        limit_concurrency=most_connections(),
        timeout_graceful_shutdown=shutdown_s,
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws_max_size=LARGEST_FRAME_BYTES,
        ws_per_message_deflate=False,  # 300 KB of compressor a client, for text that is short
    )
    return Server(config)


def most_connections() -> int:
    """How many connections fit into the open files of this process, after raising their limit."""
    limits, wanted = resource.getrlimit(resource.RLIMIT_NOFILE), 4 * MOST_CONNECTIONS
    soft, hard = (wanted if n == resource.RLIM_INFINITY else n for n in limits)
    files = max(soft, min(wanted, hard))
    if files > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, limits[1]))
    return min(MOST_CONNECTIONS, files * 3 // 4)
