"""The monitor's WebSocket: what viewers get, and what happens to those who send or do not read."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection

from make.monitor_runs import append, drawn_run, line, write_run
from make.monitor_server import HANDSHAKE, received, received_until_step, serving, viewer
from make.servers import answer_to, closed_by_server, connection
from pillsnap.monitor import viewers

LOCAL = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
END = b"\r\n\r\n"
MALFORMED = [
    b"GET / HTTP/1.1" + END,
    LOCAL + b"Host: evil.example" + END,
    LOCAL.replace(b" /", b" /" + b"a" * 200_000, 1) + b"\r\n",
    LOCAL + b"X: " + b"a" * 200_000 + END,
    LOCAL + b"Content-Length: 1\r\nContent-Length: 2" + END + b"ab",
    b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443" + END,
    b"\x16\x03\x01\x02\x00\x01\x00",
    HANDSHAKE.replace(b"Sec-WebSocket-Key", b"X"),
    HANDSHAKE.replace(b"Version: 13", b"Version: 7"),
    HANDSHAKE.replace(b"GET", b"POST"),
    HANDSHAKE.replace(b"/ws", b"/api/state"),
]
FRAMES = [
    b"\x81\x02hi",  # not masked, as a client's must be
    b"\x83\x82\x00\x00\x00\x00hi",  # an opcode that is none
    b"\x81\x82\x00\x00\x00\x00\xff\xff",  # text that is no UTF-8
    b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",  # 2^63 - 1 bytes announced
    b"\x01\xfe\x04\x00\x00\x00\x00\x00" + b"a" * 1024 + b"\x80\x81\x00\x00\x00\x00a",
]


def state_after(state: dict, message: dict) -> dict:
    parts = {key: {**state.get(key, {}), **value} if isinstance(value, dict) else value
             for key, value in message["set"].items()}  # fmt: skip
    return {**state, **parts}


def test_the_messages_add_up_to_the_state_even_where_the_log_is_replaced(tmp_path: Path) -> None:
    whole = drawn_run(1e9, gpu=True).splitlines(keepends=True)
    path = write_run(tmp_path, b"".join(whole[:1200]))
    with serving(tmp_path) as port, viewer(port) as websocket:
        state = state_after({}, received(websocket))
        for begin in range(1200, 1500, 150):
            append(path, *whole[begin : begin + 150])
            state = state_after(state, received(websocket))
        for replaced in (False, True):
            if replaced:
                path.write_bytes(line(step=9, time=7.0))
                state = state_after(state, received(websocket))
            with viewer(port) as another:
                assert state == state_after({}, received(another))
    assert (state["stages"]["train_detection"]["step"], state["logs"]) == (9, [])


def test_a_viewer_back_from_a_pause_gets_what_it_missed(tmp_path: Path) -> None:
    path = write_run(tmp_path, line(step=1))
    with serving(tmp_path) as port:
        with viewer(port) as websocket:
            first = received(websocket)
        with viewer(port) as other:
            received(other)
            append(path, line(step=2), line(kind="log", message="meanwhile"))
            received_until_step(other, 2)
        with viewer(port, f"?since={first['seq']}") as back:
            missed = received(back)
    assert missed["seq"] > first["seq"]
    assert list(missed["set"]["stages"]) == ["train_detection"]
    assert "files" not in missed["set"]
    assert [row["message"] for row in missed["set"]["logs"]] == ["meanwhile"]


def test_a_viewer_that_names_no_state_of_ours_gets_everything(tmp_path: Path) -> None:
    with serving(tmp_path) as port, viewer(port) as websocket:
        earlier = received(websocket)
    with serving(tmp_path) as port:
        for since in (earlier["seq"], "x", "-1", "99999999999999999", "9" * 50, "²", ""):
            with viewer(port, f"?since={since}") as websocket:
                assert received(websocket)["set"] == earlier["set"]


def flood(opcode: Opcode, payload: bytes) -> Callable[[ClientConnection], None]:

    def send(websocket: ClientConnection) -> None:
        with suppress(OSError, ConnectionClosed):
            while True:
                websocket.socket.sendall(Frame(opcode, payload).serialize(mask=True) * 50)

    return send


SENDS = {
    "text": lambda websocket: websocket.send("stop"),
    "empty": lambda websocket: websocket.send(""),
    "long": lambda websocket: websocket.send("x" * 100_000),
    "pings": flood(Opcode.PING, b"ping"),
    "pongs": flood(Opcode.PONG, b""),
    "continuations": flood(Opcode.CONT, b""),
}


@pytest.mark.parametrize("sent", SENDS)
def test_a_viewer_that_sends_is_closed_and_no_other(tmp_path: Path, sent: str) -> None:
    path = write_run(tmp_path, line(step=1))
    with serving(tmp_path) as port, viewer(port) as quiet, viewer(port) as loud:
        received(quiet)
        with suppress(ConnectionClosed):
            SENDS[sent](loud)
        with pytest.raises(ConnectionClosed):
            while True:
                loud.recv(timeout=20)
        append(path, line(step=2))
        assert received_until_step(quiet, 2)
        assert all(quiet.ping().wait(20) for _ in range(20))  # as clients do


def test_more_viewers_than_allowed_are_sent_away(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(viewers, "MOST_VIEWERS", 1)
    with serving(tmp_path) as port, viewer(port) as first, viewer(port) as second:
        received(first)
        with pytest.raises(ConnectionClosed) as closed:
            second.recv(timeout=20)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1013


def test_malformed_requests_and_frames_end_their_own_connection_only(tmp_path: Path) -> None:
    with serving(tmp_path) as port, viewer(port) as websocket:
        for request in MALFORMED:
            answer = answer_to(request, port)
            assert b" 200 " not in answer, request[:80]
            assert b" 101 " not in answer, request[:80]
        for frame in FRAMES:
            with connection(port, HANDSHAKE) as raw:
                assert b" 101 " in raw.recv(65536)
                raw.sendall(frame)
                assert closed_by_server(raw), frame[:20]
        assert received(websocket)["set"]
