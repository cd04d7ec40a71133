"""The web server: what it answers, whom it refuses, and how its viewers keep up."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from test_monitor_events import line
from test_monitor_run import FAILURE, drawn_run, write_run
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from pillsnap.monitor.daemon import listen
from pillsnap.monitor.guard import Access
from pillsnap.monitor.server import PAGE_FILES, create_app, server

TOKEN = "a-token-of-some-length"
NETWORK = Access(names=frozenset({"box", "localhost"}), any_address=True, token=TOKEN)
POLL_S = 0.02
ORIGIN = "http://localhost:8888"


def client(artifacts_dir: Path, access: Access = Access()) -> TestClient:  # noqa: B008 (frozen)
    return TestClient(create_app(artifacts_dir, access, POLL_S), base_url=ORIGIN)


@contextmanager
def serving(artifacts_dir: Path) -> Iterator[int]:
    """A real server on a free loopback port."""
    listener = listen("127.0.0.1", 0)
    uvicorn = server(create_app(artifacts_dir, Access(), POLL_S))
    thread = threading.Thread(target=uvicorn.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        uvicorn.should_exit = True
        thread.join()
        listener.close()


def viewer(port: int, query: str = "") -> ClientConnection:
    return connect(f"ws://127.0.0.1:{port}/ws{query}", max_size=None, compression=None)


def told(websocket: ClientConnection) -> dict[str, Any]:
    message = orjson.loads(websocket.recv(timeout=20))
    assert isinstance(message, dict)
    return message


def told_until_step(websocket: ClientConnection, step: int) -> dict[str, Any]:
    while True:
        message = told(websocket)
        stages = (message.get("set") or message.get("state") or {}).get("stages", {})
        if stages.get("train_detection", {}).get("step") == step:
            return message


def append(path: Path, *lines: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(lines))


@pytest.fixture
def events_path(tmp_path: Path) -> Path:
    return write_run(tmp_path, drawn_run(1e9))


@pytest.mark.parametrize("path", sorted(PAGE_FILES))
def test_every_file_of_the_page_is_served(tmp_path: Path, path: str) -> None:
    with client(tmp_path) as web:
        assert web.get(path).status_code == 200


def test_the_page_names_no_other_host(tmp_path: Path) -> None:
    with client(tmp_path) as web:
        files = {path: web.get(path).text for path in PAGE_FILES if "uplot" not in path}
    leaks = [path for path, text in files.items() if "//" in text.replace("http://www.w3.org", "")]
    comments_only = [
        path
        for path in leaks
        if any("://" in row and "location.host" not in row for row in files[path].splitlines())
    ]
    assert [path for path in comments_only if path != "/icon.svg"] == []


def test_the_state_names_the_scale(tmp_path: Path) -> None:
    with client(tmp_path / "demo") as web:
        assert web.get("/api/state").json()["source"]["scale"] == "demo"


def test_the_state_tells_where_each_training_stands(tmp_path: Path, events_path: Path) -> None:
    with client(tmp_path) as web:
        stages = web.get("/api/state").json()["stages"]
    detection, classification = stages["train_detection"], stages["train_classification"]
    assert (detection["status"], detection["epoch"], detection["epochs"]) == ("done", 18, 18)
    assert (classification["epoch"], classification["step"]) == (12, 11)
    assert classification["goals"] == {"top1": 0.85, "minutes": 120.0}


def test_the_state_holds_the_curves_of_earlier_runs(tmp_path: Path, events_path: Path) -> None:
    with client(tmp_path) as web:
        runs = web.get("/api/state").json()["runs"]["train_detection"]
    assert [(run["run"], len(run["metrics"]["map50"])) for run in runs] == [
        ("d0", 12),
        ("d1", 18),
        ("d2", 18),
    ]


def test_the_state_holds_the_summaries(tmp_path: Path, events_path: Path) -> None:
    with client(tmp_path) as web:
        files = web.get("/api/state").json()["files"]
    assert files["validation"]["checks"][0]["examples"] == ["자료/K-000030.png"]
    assert files["metrics"]["targets"]["detection_map50"]["met"] is True
    assert files["sampling"] is None


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff", b"x" * (5 << 20)])
def test_a_broken_summary_is_named_and_breaks_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "validation.json").write_bytes(content)
    with client(tmp_path) as web:
        assert "validation.json" in web.get("/api/state").json()["files"]["validation"]["problem"]


def test_an_unreadable_log_is_named_and_breaks_nothing(tmp_path: Path) -> None:
    (tmp_path / "live" / "events.jsonl").mkdir(parents=True)
    with client(tmp_path) as web:
        assert "events.jsonl" in web.get("/api/state").json()["source"]["problem"]


def test_health_is_told(tmp_path: Path) -> None:
    with client(tmp_path) as web:
        assert web.get("/healthz").json()["ok"] is True


def test_answers_carry_the_security_headers(tmp_path: Path) -> None:
    with client(tmp_path) as web:
        headers = web.get("/").headers
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert (headers["x-frame-options"], headers["x-content-type-options"]) == ("DENY", "nosniff")
    assert headers["cache-control"] == "no-store"


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
    refusals = (WebSocketDisconnect, RuntimeError, Exception)
    with client(tmp_path) as web, pytest.raises(refusals) as refused:  # noqa: PT012
        with web.websocket_connect("/ws", headers=headers):
            pass
    assert getattr(refused.value, "status_code", status) == status


def test_our_own_origin_may_read(tmp_path: Path) -> None:
    with client(tmp_path) as web:
        assert web.get("/api/state", headers={"origin": ORIGIN}).status_code == 200


def test_a_tunnel_with_another_local_port_may_read(tmp_path: Path) -> None:
    headers = {"host": "127.0.0.1:9999", "origin": "http://127.0.0.1:9999"}
    with client(tmp_path) as web:
        assert web.get("/api/state", headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/state", "/healthz", "/main.js"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Bearer "},
        {"cookie": "pillsnap_monitor=wrong"},
        {"cookie": f"pillsnap_monitor={TOKEN}"},
    ],
)
def test_in_the_network_nothing_is_told_without_the_token(
    tmp_path: Path, path: str, headers: dict[str, str]
) -> None:
    with client(tmp_path, NETWORK) as web:
        assert web.get(path, headers=headers).status_code == 401


def test_a_bearer_token_opens(tmp_path: Path) -> None:
    with client(tmp_path, NETWORK) as web:
        headers = {"authorization": f"Bearer {TOKEN}"}
        assert web.get("/api/state", headers=headers).status_code == 200


def test_a_token_in_the_address_opens_and_leaves_a_cookie_for_the_rest(tmp_path: Path) -> None:
    with client(tmp_path, NETWORK) as web:
        assert web.get("/", params={"token": TOKEN}).status_code == 200
        assert web.get("/main.js").status_code == 200
        with web.websocket_connect("/ws") as websocket:
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


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: \xff\x00\r\n\r\n",
    ],
)
def test_malformed_requests_are_refused_and_the_server_lives(
    tmp_path: Path, request_bytes: bytes
) -> None:
    with serving(tmp_path) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
            with suppress(ConnectionError):  # it may hang up before all is sent
                raw.sendall(request_bytes)
                raw.shutdown(socket.SHUT_WR)
                answer = raw.recv(64)
                assert b" 200 " not in answer
        with viewer(port) as websocket:
            assert told(websocket)["type"] == "state"


def test_a_new_viewer_gets_everything_then_only_changes(tmp_path: Path) -> None:
    path = write_run(tmp_path, line(step=1))
    with serving(tmp_path) as port, viewer(port) as websocket:
        first = told(websocket)
        append(path, line(step=2))
        second = told(websocket)
    assert (first["type"], second["type"]) == ("state", "delta")
    assert second["since"] == first["seq"]
    assert list(second["set"]["stages"]) == ["train_detection"]


def test_deltas_add_up_to_the_state(tmp_path: Path) -> None:
    whole = drawn_run(1e9, gpu=True).splitlines(keepends=True)
    path = write_run(tmp_path, b"".join(whole[:1200]))
    with serving(tmp_path) as port, viewer(port) as websocket:
        first = told(websocket)
        state, seq = first["state"], first["seq"]
        for begin in range(1200, 1800, 150):
            append(path, *whole[begin : begin + 150])
            delta = told(websocket)
            assert delta["since"] == seq
            seq = delta["seq"]
            for outer, group in delta["set"].items():
                state[outer].update(group)
            for name in ("logs", "history"):
                limit = state["hardware"]["limits"][name]
                state[name] = (state[name] + delta["append"][name])[-limit:]
        with viewer(port) as another:
            fresh = told(another)["state"]
    since_s = fresh["history"][0][0]
    state["history"] = [row for row in state["history"] if row[0] >= since_s]
    assert state == fresh


def test_a_viewer_back_from_a_pause_gets_what_it_missed(tmp_path: Path) -> None:
    path = write_run(tmp_path, line(step=1))
    with serving(tmp_path) as port:
        with viewer(port) as websocket:
            first = told(websocket)
        with viewer(port) as other:
            told(other)
            append(path, line(step=2), line(kind="log", message="meanwhile"))
            told_until_step(other, 2)
        with viewer(port, f"?since={first['seq']}&generation={first['generation']}") as back:
            missed = told(back)
    assert (missed["type"], missed["since"]) == ("delta", first["seq"])
    assert [row["message"] for row in missed["append"]["logs"]] == ["meanwhile"]


@pytest.mark.parametrize("query", ["?since=1&generation=other", "?since=x", "?since=99999999"])
def test_a_viewer_of_another_server_gets_everything(tmp_path: Path, query: str) -> None:
    with serving(tmp_path) as port, viewer(port, query) as websocket:
        assert told(websocket)["type"] == "state"


def test_a_replaced_log_sends_everything_anew(tmp_path: Path) -> None:
    path = write_run(tmp_path, line(step=1) + line(step=2))
    with serving(tmp_path) as port, viewer(port) as websocket:
        first = told(websocket)
        path.write_bytes(line(step=9, time=7.0))
        second = told(websocket)
    assert (second["type"], second["generation"] != first["generation"]) == ("state", True)
    assert second["state"]["stages"]["train_detection"]["step"] == 9


def test_what_a_viewer_says_changes_nothing(tmp_path: Path) -> None:
    path = write_run(tmp_path, line(step=1))
    with serving(tmp_path) as port, viewer(port) as websocket:
        told(websocket)
        for text in ("stop", '{"type":"run"}', "\x00"):
            websocket.send(text)
        append(path, line(step=2))
        assert told_until_step(websocket, 2)["type"] == "delta"


def test_an_overlong_word_ends_only_the_one_who_said_it(tmp_path: Path) -> None:
    path = write_run(tmp_path, line(step=1))
    with serving(tmp_path) as port, viewer(port) as quiet, viewer(port) as loud:
        told(quiet)
        loud.send("x" * 100_000)
        append(path, line(step=2))
        assert told_until_step(quiet, 2)["type"] == "delta"


@pytest.mark.slow
def test_a_stalled_viewer_and_200_others_keep_nobody_waiting(tmp_path: Path) -> None:
    path = write_run(tmp_path, drawn_run(1e9))
    with serving(tmp_path) as port:
        stalled = [_deaf(port) for _ in range(5)]
        many = [viewer(port).__enter__() for _ in range(200)]
        for step in range(1, 30):
            append(path, *(line(step=step, kind="log", message="x" * 1900) for _ in range(50)))
            append(path, line(step=step))
            told_until_step(many[0], step)
        for websocket in many:
            told_until_step(websocket, 29)
            websocket.close()
        for raw in stalled:
            raw.close()


def _deaf(port: int) -> socket.socket:
    """A viewer that shakes hands and never reads again."""
    raw = socket.create_connection(("127.0.0.1", port))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    head = f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
    key = "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    raw.sendall(f"{head}{key}Sec-WebSocket-Version: 13\r\n\r\n".encode())
    return raw


def test_a_failure_reaches_the_viewer_with_its_cures(tmp_path: Path) -> None:
    path = write_run(tmp_path, line(step=1))
    with serving(tmp_path) as port, viewer(port) as websocket:
        told(websocket)
        append(path, line(kind="failure", time=time.time(), **{**FAILURE}))
        stage = told(websocket)["set"]["stages"]["train_detection"]
    assert (stage["status"], stage["failure"]["cures"]) == ("failed", FAILURE["cures"])
