"""Whom the monitor answers and whom it refuses."""

import socket
from contextlib import suppress
from pathlib import Path

import orjson
import pytest
from starlette.testclient import WebSocketDenialResponse
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from monitor.test_server import ORIGIN, client, serving, told, viewer
from pillsnap.monitor.guard import Access

TOKEN = "a-token-of-some-length"
NETWORK = Access(names=frozenset({"box", "localhost"}), any_address=True, token=TOKEN)
SOCKET = "ws://localhost:8888/ws"

PATHS = [
    "/../../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/..%2f..%2fetc%2fpasswd",
    "/page/..%5c..%5cwindows",
    "//etc/passwd",
    "/monitor.css/../../server.py",
    "/server.py",
    "/index.html%00.css",
    "/api/state/../../params.yaml",
    "/api",
    "/api/",
    "/api/state/",
    "/ws",
    "/docs",
    "/openapi.json",
    "/events.jsonl",
    "/artifacts/demo/live/events.jsonl",
    "/.git/config",
    "/monitor.js?../../x",
]
METHODS = ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "CONNECT", "PROPFIND"]
HEADERS: list[tuple[dict[str, str], int]] = [
    ({"host": "evil.example"}, 400),
    ({"host": "localhost.evil.example:8888"}, 400),
    ({"host": "127.0.0.1.evil.example"}, 400),
    ({"host": "192.168.0.7:8888"}, 400),
    ({"host": "localhost:8888@evil.example"}, 400),
    ({"host": "localhost:port"}, 400),
    ({"host": ""}, 400),
    ({"origin": "http://evil.example"}, 403),
    ({"origin": "null"}, 403),
    ({"origin": "http://localhost:9999"}, 403),
    ({"origin": "http://localhost:8888.evil.example"}, 403),
    ({"origin": "file://"}, 403),
    ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
    ({"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, 403),
]


@pytest.mark.parametrize("path", PATHS)
def test_an_address_without_a_page_is_refused(tmp_path: Path, path: str) -> None:
    with client(tmp_path) as web:
        assert web.get(path, follow_redirects=False).status_code == 404


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", ["/", "/api/state"])
def test_only_reading_is_allowed(tmp_path: Path, method: str, path: str) -> None:
    with client(tmp_path) as web:
        assert web.request(method, path).status_code == 405


@pytest.mark.parametrize(("headers", "status"), HEADERS)
def test_a_foreign_host_or_origin_is_refused(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    with client(tmp_path) as web:
        assert web.get("/api/state", headers=headers).status_code == status


@pytest.mark.parametrize(("headers", "status"), HEADERS)
def test_a_foreign_host_or_origin_gets_no_socket(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    with client(tmp_path) as web, pytest.raises(WebSocketDenialResponse) as refused:
        web.websocket_connect(SOCKET, headers=headers).__enter__()
    assert refused.value.status_code == status


def test_our_own_origin_may_read(tmp_path: Path) -> None:
    with client(tmp_path) as web:
        assert web.get("/api/state", headers={"origin": ORIGIN}).status_code == 200


def test_a_tunnel_with_another_local_port_may_read(tmp_path: Path) -> None:
    headers = {"host": "127.0.0.1:9999", "origin": "http://127.0.0.1:9999"}
    with client(tmp_path) as web:
        assert web.get("/api/state", headers=headers).status_code == 200


TOKENS: list[dict[str, str]] = [
    {},
    {"authorization": "Bearer wrong"},
    {"authorization": f"Basic {TOKEN}"},
    {"authorization": "Bearer "},
    {"authorization": f"Bearer {TOKEN}x"},
    {"authorization": f"Bearer {TOKEN[:-1]}"},
    {"cookie": "pillsnap_monitor=wrong"},
    {"cookie": f"pillsnap_monitor={TOKEN}"},
    {"cookie": 'pillsnap_monitor="'},
]


@pytest.mark.parametrize("path", ["/", "/api/state", "/healthz", "/main.js"])
@pytest.mark.parametrize("headers", TOKENS)
def test_in_the_network_nothing_is_told_without_the_token(
    tmp_path: Path, path: str, headers: dict[str, str]
) -> None:
    with client(tmp_path, NETWORK) as web:
        assert web.get(path, headers=headers).status_code == 401


@pytest.mark.parametrize("headers", TOKENS)
def test_in_the_network_there_is_no_socket_without_the_token(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    with client(tmp_path, NETWORK) as web, pytest.raises(WebSocketDenialResponse) as refused:
        web.websocket_connect(SOCKET, headers=headers).__enter__()
    assert refused.value.status_code == 401


def test_a_bearer_token_opens(tmp_path: Path) -> None:
    with client(tmp_path, NETWORK) as web:
        headers = {"authorization": f"Bearer {TOKEN}"}
        assert web.get("/api/state", headers=headers).status_code == 200


def test_a_token_in_the_address_opens_and_leaves_a_cookie_for_the_rest(tmp_path: Path) -> None:
    with client(tmp_path, NETWORK) as web:
        assert web.get("/", params={"token": TOKEN}).status_code == 200
        assert web.get("/main.js").status_code == 200
        with web.websocket_connect(SOCKET) as websocket:
            assert orjson.loads(websocket.receive_text())["type"] == "state"


def test_the_cookie_is_not_the_token(tmp_path: Path) -> None:
    with client(tmp_path, NETWORK) as web:
        cookie = web.get("/", params={"token": TOKEN}).headers["set-cookie"]
    assert TOKEN not in cookie
    assert "HttpOnly; SameSite=Strict" in cookie


def test_in_the_network_any_address_and_the_own_name_are_answered(tmp_path: Path) -> None:
    with client(tmp_path, NETWORK) as web:
        params = {"token": TOKEN}
        answers = [
            web.get("/healthz", params=params, headers={"host": host}).status_code
            for host in ("box:8888", "192.168.0.7:8888", "[fe80::1]:8888", "evil.example")
        ]
    assert answers == [200, 200, 200, 400]


def test_a_real_server_refuses_a_foreign_socket_with_a_status(tmp_path: Path) -> None:
    with serving(tmp_path) as port, pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{port}/ws", origin="http://evil.example").__enter__()
    assert refused.value.response.status_code == 403


LOCAL = b"Host: localhost\r\n"
UPGRADE = LOCAL + b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
VERSION = b"Sec-WebSocket-Version: 13\r\n"
MALFORMED = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + LOCAL + b"Host: evil.example\r\n\r\n",
    b"GET http://evil.example/ HTTP/1.1\r\n" + LOCAL + b"\r\n",
    b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n" + LOCAL + b"\r\n",
    b"GET / HTTP/1.1\r\n" + LOCAL + b"X: " + b"a" * 200_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + LOCAL + b"X: a\r\n" * 200_000 + b"\r\n",
    b"GET / HTTP/1.1\r\n" + LOCAL + b"X: \xff\x00\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + LOCAL + b" folded: evil\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + LOCAL + b"Content-Length: -1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + LOCAL + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"POST / HTTP/1.1\r\n" + LOCAL + b"Content-Length: 99999999999\r\n\r\n" + b"a" * 200_000,
    b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"GET /ws HTTP/1.1\r\n" + UPGRADE + VERSION + b"\r\n",
    b"GET /ws HTTP/1.1\r\n" + UPGRADE + KEY + b"\r\n",
    b"GET /ws HTTP/1.1\r\n" + UPGRADE + KEY + b"Sec-WebSocket-Version: 7\r\n\r\n",
    b"GET /ws HTTP/1.1\r\n" + UPGRADE + b"Sec-WebSocket-Key: short\r\n" + VERSION + b"\r\n",
    b"GET /ws HTTP/1.1\r\n" + UPGRADE + KEY + KEY + VERSION + b"\r\n",
    b"POST /ws HTTP/1.1\r\n" + UPGRADE + KEY + VERSION + b"\r\n",
    b"GET /api/state HTTP/1.1\r\n" + UPGRADE + KEY + VERSION + b"\r\n",
]


@pytest.mark.parametrize("request_bytes", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_requests_are_refused_and_the_server_lives(
    tmp_path: Path, request_bytes: bytes
) -> None:
    with serving(tmp_path) as port:
        answer = _answer_to(request_bytes, port)
        assert b" 200 " not in answer
        assert b" 101 " not in answer
        with viewer(port) as websocket:
            assert told(websocket)["type"] == "state"


CLOSE = b"\x88"  # the frame of a server that hangs up; the state here is plain ASCII
SHAKEN_HANDS = b"GET /ws HTTP/1.1\r\n" + UPGRADE + KEY + VERSION + b"\r\n"
FRAMES = [
    b"\x81\x02hi",  # not masked, as a client's must be
    b"\xf1\x82\x00\x00\x00\x00hi",  # reserved bits
    b"\x83\x82\x00\x00\x00\x00hi",  # an opcode that is none
    b"\x81\x82\x00\x00\x00\x00\xff\xff",  # text that is no UTF-8
    b"\x80\x82\x00\x00\x00\x00hi",  # goes on with what never began
    b"\x89\xfe\x01\x00\x00\x00\x00\x00" + b"a" * 256,  # a ping longer than one may be
    b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",  # 2^63 - 1 bytes announced
    b"\x01\xfe\x04\x00\x00\x00\x00\x00" + b"a" * 1024 + b"\x80\x81\x00\x00\x00\x00a",
]


@pytest.mark.parametrize("frame", FRAMES, ids=range(len(FRAMES)))
def test_a_malformed_frame_ends_its_own_socket_only(tmp_path: Path, frame: bytes) -> None:
    with serving(tmp_path) as port, viewer(port) as websocket:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
            raw.sendall(SHAKEN_HANDS)
            assert b" 101 " in raw.recv(65536)
            raw.sendall(frame)
            with suppress(ConnectionError):
                while (answer := raw.recv(65536)) and CLOSE not in answer:
                    pass
        assert told(websocket)["type"] == "state"


def _answer_to(request_bytes: bytes, port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        with suppress(ConnectionError):  # it may hang up before all is sent
            raw.sendall(request_bytes)
            raw.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            return raw.recv(64)
    return b""


def test_answers_carry_the_security_headers(tmp_path: Path) -> None:
    with client(tmp_path) as web:
        headers = web.get("/").headers
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert (headers["x-frame-options"], headers["x-content-type-options"]) == ("DENY", "nosniff")
    assert headers["cache-control"] == "no-store"
