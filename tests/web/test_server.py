"""A server under siege: half-sent requests, clients that do not read, too few open files."""

import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from make.servers import answer_to, closed_by_server, connection, running
from pillsnap.web import server as web
from pillsnap.web.listener import listen

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
HALF = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Half: "
FILES, ATTACKERS = 256, 400
SHORT_S = 0.3


async def healthz(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


async def upload(request: Request) -> PlainTextResponse:
    try:
        return PlainTextResponse(str(len(await request.body())))
    except ClientDisconnect:
        return PlainTextResponse("to nobody")


async def slow(request: Request) -> PlainTextResponse:
    await asyncio.sleep(3 * SHORT_S)
    return PlainTextResponse("slow")


async def large(request: Request) -> PlainTextResponse:
    return PlainTextResponse("x" * (32 << 20))


ROUTES = [
    Route(f"/{f.__name__}", f, methods=["GET", "POST"]) for f in (healthz, upload, slow, large)
]


@contextmanager
def tiny() -> Iterator[int]:
    with running(web.server(Starlette(routes=ROUTES), shutdown_s=1)) as port:
        yield port


@pytest.fixture
def deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "REQUEST_S", SHORT_S)
    monkeypatch.setattr(web, "READING_S", SHORT_S)


@pytest.mark.parametrize(
    "sent",
    [
        *(b"", b"G", HALF, HALF + b"1\r\n", HEALTH + HALF, HEALTH * 3 + b"GET"),
        b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf",
        HEALTH.replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\n"),
    ],
)
@pytest.mark.usefixtures("deadlines")
def test_a_connection_without_a_whole_request_is_closed(sent: bytes) -> None:
    with tiny() as port, connection(port, sent) as raw:
        assert closed_by_server(raw)


@pytest.mark.parametrize("path", ["healthz", "upload", "slow", "large", "nowhere"])
@pytest.mark.parametrize("pause_s", [0.0, 0.2], ids=["at once", "later"])
def test_a_malformed_body_is_no_error_of_the_route(path, pause_s, caplog) -> None:
    """Before, while and after the route answers: uvicorn wrote a traceback for each."""
    head = f"POST /{path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with tiny() as port:
        with connection(port, head.encode()) as raw:
            time.sleep(pause_s)
            with suppress(ConnectionError):
                raw.sendall(b"ZZZ\r\n")
            with suppress(ConnectionError):
                while raw.recv(1 << 16):
                    pass
        assert answer_to(HEALTH, port).startswith(b"HTTP/1.1 200")
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.usefixtures("deadlines")
def test_a_header_that_comes_byte_by_byte_is_closed_too() -> None:
    with tiny() as port, connection(port, HALF) as raw:
        started_s = time.monotonic()
        with suppress(ConnectionError):
            while raw.send(b"x") and time.monotonic() < started_s + 20:
                time.sleep(SHORT_S / 20)
        assert time.monotonic() < started_s + 20


@pytest.mark.usefixtures("deadlines")
def test_an_answer_or_an_upload_may_take_longer_and_a_kept_connection_is_used_again() -> None:
    def halves() -> Iterator[bytes]:
        yield b"ab"
        time.sleep(2 * SHORT_S)
        yield b"cd"

    with tiny() as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as web:
        assert web.get("/slow").text == "slow"
        assert web.post("/upload", content=halves()).text == "4"
        for _ in range(3):
            assert web.get("/healthz").text == "ok"
            time.sleep(SHORT_S / 2)


@pytest.mark.parametrize("reads", [False, True], ids=["never", "late"])
def test_a_client_must_read_its_answer_in_time(reads, monkeypatch) -> None:
    monkeypatch.setattr(web, "REQUEST_S", SHORT_S)
    monkeypatch.setattr(web, "READING_S", 20.0 if reads else SHORT_S)
    server = web.server(Starlette(routes=ROUTES), shutdown_s=1)
    with running(server) as port, connection(port, HEALTH.replace(b"healthz", b"large")) as raw:
        received = len(raw.recv(1))
        if reads:
            time.sleep(4 * SHORT_S)
            while received < 32 << 20 and (part := raw.recv(1 << 20)):
                received += len(part)
            assert received > 32 << 20
        while not reads and server.server_state.connections:
            time.sleep(SHORT_S / 10)


def test_the_longest_waiting_connection_is_evicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "MOST_CONNECTIONS", 12)
    with tiny() as port, ExitStack() as stack:
        half = [stack.enter_context(connection(port, HALF)) for _ in range(20)]
        assert closed_by_server(half[0])
        assert b" 200 " in answer_to(HEALTH, port)


def test_requests_in_progress_are_not_evicted_and_block_no_others(monkeypatch) -> None:
    monkeypatch.setattr(web, "MOST_CONNECTIONS", 128)
    slow = HEALTH.replace(b"healthz", b"slow")
    with tiny() as port, ExitStack() as stack:
        working = [stack.enter_context(connection(port, slow)) for _ in range(70)]
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").text == "ok"
        assert all(b" 200 " in raw.recv(65536) for raw in working)


@pytest.mark.parametrize(
    ("soft", "hard", "connections"),
    [(1024, 1 << 20, 1024), (256, 256, 192), (20_000, 20_000, 1024), (64, 1024, 768)],
)
def test_the_soft_limit_of_open_files_is_raised(soft, hard, connections, monkeypatch) -> None:
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.append(pair))
    assert web.most_connections() == connections
    assert soft <= limits[-1][0] <= hard
    assert limits[-1][1] == hard


@pytest.mark.slow
@pytest.mark.parametrize("option", ["-n", "-S -n"], ids=["hard limit", "soft limit"])
def test_half_sent_headers_do_not_keep_health_from_load_balancers(option, tmp_path) -> None:
    probes = [
        b"GET /healthz HTTP/1.0\r\n\r\n",
        b"HEAD /healthz HTTP/1.0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: 10.0.0.7:8080\r\nConnection: close\r\n\r\n",
        b"GET /healthz?from=lb HTTP/1.1\r\nHost: pills\r\n\r\n",
    ]
    with listen("127.0.0.1", 0, "pillsnap") as listener, ExitStack() as stack:
        port, descriptor = listener.getsockname()[1], listener.fileno()
        command = ["bash", "-c", f'ulimit {option} {FILES}; exec "$@"', "bash", sys.executable]
        command += ["-m", "pillsnap.monitor.daemon", str(tmp_path), "127.0.0.1", str(descriptor)]
        monitor = subprocess.Popen([*command, str(tmp_path)], pass_fds=[descriptor])
        stack.enter_context(monitor)
        stack.callback(monitor.kill)
        assert b" 200 " in answer_to(HEALTH, port)
        for _ in range(ATTACKERS):
            stack.enter_context(connection(port, HALF))
        for probe in probes:
            sent_s = time.monotonic()
            assert answer_to(probe, port).startswith(b"HTTP/1.1 200 "), probe
            assert time.monotonic() - sent_s < 1
