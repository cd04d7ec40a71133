"""The webhook: what is sent, and that its address stays a secret and its failure a warning."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from pillsnap.operation import webhook
from pillsnap.operation.webhook import Notice

NOTICE = Notice("failed", "demo", 2.5, "The disk is full.", ("df -h .",))


@dataclass
class Receiver:
    """A server on loopback that keeps what it is sent."""

    url: str
    answer: int = 200
    bodies: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.bodies.append(json.loads(body))
            self.send_response(kept.answer)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        kept = Receiver(f"http://127.0.0.1:{server.server_port}/hook/s3cret")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield kept
        server.shutdown()
        thread.join()


def test_a_notice_arrives_with_its_message_and_cures(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(webhook.URL_VARIABLE, receiver.url)
    assert webhook.send(NOTICE) == ""
    [body] = receiver.bodies
    assert (body["event"], body["scale"], body["cures"]) == ("failed", "demo", ["df -h ."])
    assert body["text"] == "PillSnap demo: failed after 2.5 min. The disk is full. df -h ."


def test_without_an_address_nobody_is_told_and_nothing_warned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(webhook.URL_VARIABLE, raising=False)
    assert webhook.send(NOTICE) == ""


def test_a_refusal_is_a_warning_without_the_address(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answer = 403
    monkeypatch.setenv(webhook.URL_VARIABLE, receiver.url)
    warning = webhook.send(NOTICE)
    assert "HTTP 403" in warning
    assert "s3cret" not in warning


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/s3cret",
        "file:///etc/s3cret",
        "http://127.0.0.1:port/s3cret",
        "http://exa mple/s3cret",
    ],
)
def test_an_address_that_cannot_be_reached_is_a_warning_without_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(webhook.URL_VARIABLE, url)
    warning = webhook.send(NOTICE)
    assert "nobody was told" in warning
    assert "s3cret" not in warning


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv(
            webhook.URL_VARIABLE, f"http://127.0.0.1:{silent.getsockname()[1]}/s3cret"
        )
        assert "TimeoutError" in webhook.send(NOTICE, timeout_s=0.1)
