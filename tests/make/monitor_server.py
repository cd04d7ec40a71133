"""Monitors for tests: in the process of the test, or on a loopback port; and their viewers."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from starlette.testclient import TestClient
from websockets.sync.client import ClientConnection, connect

from make.servers import running
from pillsnap.monitor.server import create_app, server
from pillsnap.web.guard import Access

POLL_S = 0.02
ORIGIN = "http://localhost:8888"
LOCAL = Access()


def client(artifacts_dir: Path, access: Access = LOCAL) -> TestClient:
    """A client of a monitor without a socket between them."""
    return TestClient(create_app(artifacts_dir, access, POLL_S), base_url=ORIGIN)


@contextmanager
def serving(
    artifacts_dir: Path,
    port: int = 0,
    send_buffer_bytes: int | None = None,
    access: Access = LOCAL,
) -> Iterator[int]:
    """A real server; yields its loopback port, a free one where `port` is 0."""
    app = create_app(artifacts_dir, access, POLL_S)
    with running(server(app), port, send_buffer_bytes) as bound:
        yield bound


def viewer(port: int, query: str = "") -> ClientConnection:
    """A WebSocket client of a monitor."""
    return connect(f"ws://127.0.0.1:{port}/ws{query}", max_size=None, compression=None)


def received(websocket: ClientConnection) -> dict[str, Any]:
    """The next message."""
    message = orjson.loads(websocket.recv(timeout=20))
    assert isinstance(message, dict)
    return message


def received_until_step(websocket: ClientConnection, step: int) -> dict[str, Any]:
    """The message that brings a step of the detector's training."""
    while True:
        message = received(websocket)
        stages = message["set"].get("stages", {})
        if stages.get("train_detection", {}).get("step") == step:
            return message


def deaf_viewer(port: int) -> socket.socket:
    """A viewer that shakes hands and never reads again."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", port))
    head = f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
    key = "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    raw.sendall(f"{head}{key}Sec-WebSocket-Version: 13\r\n\r\n".encode())
    return raw
