"""The service as a process, over real connections: what SIGTERM ends and what it waits for."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest

from make.drawn_models import RED, frame
from make.import_graph import ROOT
from make.servers import connection
from make.services import png

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

BATCH, QUEUE = 2, 4
HEADERS = {"content-type": "image/png"}
PHOTO = png(frame((20, 30, 60, RED)))


@dataclass(frozen=True)
class Service:
    """A running service, its models behind a gate."""

    process: subprocess.Popen[bytes]
    url: str

    def ask(self) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/recognise", content=PHOTO, headers=HEADERS, timeout=60)

    def ask_half(self) -> socket.socket:
        """A connection over which half of a photo was sent; the rest will not be."""
        head = "POST /v1/recognise HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        head += f"Content-Length: {len(PHOTO)}\r\n\r\n"
        port = int(self.url.rpartition(":")[2])
        return connection(port, head.encode() + PHOTO[: len(PHOTO) // 2])

    def holds(self, requests: int) -> bool:
        counters = httpx.get(f"{self.url}/metrics").text.splitlines()
        return f"pillsnap_requests_in_flight {requests}" in counters

    def open_gate(self) -> None:
        self.process.stdin.close()

    def listens(self) -> bool:
        try:
            httpx.get(f"{self.url}/healthz")
        except httpx.TransportError:
            return False
        return True


@contextmanager
def running(shutdown_s: int = 30) -> Iterator[Service]:
    numbers = map(str, (BATCH, QUEUE, shutdown_s))
    program = [sys.executable, ROOT / "tests/make/drawn_service.py", *numbers]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(program, **pipes) as process:
        try:
            line = process.stderr.readline().decode()
            assert line.startswith("http://"), line
            yield Service(process, line.split()[0].rstrip("/"))
        finally:
            process.kill()


def wait_until(condition) -> None:  # pytest's time limit ends it
    while not condition():
        pass


def test_sigterm_finishes_accepted_requests_and_exits_with_0() -> None:
    with running() as service, ThreadPoolExecutor(QUEUE) as clients:
        waiting = [clients.submit(service.ask) for _ in range(QUEUE)]
        wait_until(lambda: service.holds(QUEUE))
        service.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not service.listens())
        assert not any(one.done() for one in waiting)
        service.open_gate()
        assert [one.result().status_code for one in waiting] == [200] * QUEUE
        assert service.process.wait() == 0


def test_a_stalled_upload_delays_sigterm_by_the_shutdown_time_at_most() -> None:
    with running(3) as service, ThreadPoolExecutor(1) as clients, service.ask_half():
        wait_until(lambda: service.holds(1))
        waiting = clients.submit(service.ask)
        wait_until(lambda: service.holds(2))
        service.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not service.listens())
        service.open_gate()
        assert waiting.result().status_code == 200
        assert service.process.wait(3 + 5) == 0
