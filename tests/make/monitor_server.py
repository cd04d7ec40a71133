"""Monitors for tests: in the process of the test, or on a loopback port; and their viewers."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from starlette.testclient import TestClient
from websockets.sync.client import ClientConnection, connect

from make.servers import connection, running
from pillsnap.monitor.server import create_app, server
from pillsnap.web.guard import Access

POLL_S = 0.02
LOCAL = Access()
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def client(artifacts_dir: Path) -> TestClient:
    return TestClient(create_app(artifacts_dir, LOCAL, POLL_S), base_url="http://localhost")


@contextmanager
def serving(artifacts_dir: Path, port: int = 0, access: Access = LOCAL) -> Iterator[int]:
    with running(server(create_app(artifacts_dir, access, POLL_S)), port) as bound:
        yield bound


def viewer(port: int, query: str = "") -> ClientConnection:
    return connect(f"ws://127.0.0.1:{port}/ws{query}", max_size=None, compression=None)


def received(websocket: ClientConnection) -> dict[str, Any]:
    message = orjson.loads(websocket.recv(timeout=20))
    assert isinstance(message, dict)
    return message


def received_until_step(websocket: ClientConnection, step: int) -> bool:
    while True:
        stages = received(websocket)["set"].get("stages", {})
        if stages.get("train_detection", {}).get("step") == step:
            return True


def deaf_viewer(port: int) -> socket.socket:
    return connection(port, HANDSHAKE, receive_buffer_bytes=4096)
