"""The web server: what it answers, whom it refuses, and how its viewers keep up."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.testclient import TestClient
from websockets.asyncio.client import connect as connect_async
from websockets.sync.client import ClientConnection, connect

from monitor.test_events import line
from monitor.test_run import FAILURE, drawn_run, write_run
from pillsnap.monitor.daemon import listen
from pillsnap.monitor.guard import Access
from pillsnap.monitor.server import PAGE_FILES, Watch, create_app, server

POLL_S = 0.02
ORIGIN = "http://localhost:8888"


def client(artifacts_dir: Path, access: Access = Access()) -> TestClient:  # noqa: B008 (frozen)
    return TestClient(create_app(artifacts_dir, access, POLL_S), base_url=ORIGIN)


@contextmanager
def serving(
    artifacts_dir: Path, port: int = 0, send_buffer_bytes: int | None = None
) -> Iterator[int]:
    """A real server on a loopback port, a free one unless told."""
    listener = listen("127.0.0.1", port)
    if send_buffer_bytes is not None:  # its connections inherit it
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
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
    ours = [path for path in PAGE_FILES if "uplot" not in path and path != "/icon.svg"]
    with client(tmp_path) as web:
        rows = [row for path in ours for row in web.get(path).text.splitlines()]
    assert [row for row in rows if "://" in row and "${location.host}" not in row] == []


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


def test_a_new_viewer_gets_everything_then_only_changes(tmp_path: Path) -> None:
    path = write_run(tmp_path, line(step=1))
    with serving(tmp_path) as port, viewer(port) as websocket:
        first = told(websocket)
        append(path, line(step=2))
        second = told(websocket)
    assert (first["type"], second["type"]) == ("state", "delta")
    assert second["since"] == first["seq"]
    assert list(second["set"]["stages"]) == ["train_detection"]


@pytest.mark.parametrize("begun", [b"", line(step=1)], ids=["no run yet", "a run that waits"])
def test_news_after_a_quiet_look_do_not_wait_for_the_next(tmp_path: Path, begun: bytes) -> None:
    path = write_run(tmp_path, begun)
    if not begun:
        path.unlink()

    async def told_soon() -> bool:
        watch = Watch(tmp_path)
        await watch.look()
        known = watch.hub.seq
        looking = asyncio.create_task(watch.forever(poll_s=5.0))
        await asyncio.sleep(0.2)
        assert watch.hub.seq == known  # the look was quiet
        append(path, line(step=2))
        try:
            return await watch.hub.wait_past(known, 2.0)
        finally:
            looking.cancel()

    assert asyncio.run(told_soon())


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
def test_stalled_viewers_keep_200_others_from_nothing(tmp_path: Path) -> None:
    path = write_run(tmp_path, drawn_run(1e9))
    last = 8

    async def watch(port: int, seen: asyncio.Queue[int]) -> None:
        address = f"ws://127.0.0.1:{port}/ws"
        async with connect_async(address, max_size=None, ping_interval=None) as websocket:
            step = None
            while step != last:
                message = orjson.loads(await websocket.recv())
                stages = (message.get("set") or message["state"]).get("stages", {})
                step = stages.get("train_detection", {}).get("step", step)
                seen.put_nowait(step or 0)

    async def crowd(port: int) -> None:
        seen: asyncio.Queue[int] = asyncio.Queue()
        viewers = [asyncio.create_task(watch(port, seen)) for _ in range(200)]
        for step in range(1, last + 1):
            bulk = (line(kind="log", message="x" * 1900) for _ in range(25))
            append(path, *bulk, line(step=step))
            while await seen.get() != step:
                pass
        await asyncio.gather(*viewers)

    with serving(tmp_path, send_buffer_bytes=8192) as port:
        stalled = [deaf(port) for _ in range(5)]
        asyncio.run(asyncio.wait_for(crowd(port), 100))
        for raw in stalled:
            raw.close()


def deaf(port: int) -> socket.socket:
    """A viewer that shakes hands and never reads again."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", port))
    head = f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
    key = "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    raw.sendall(f"{head}{key}Sec-WebSocket-Version: 13\r\n\r\n".encode())
    return raw


def test_a_failure_reaches_the_viewer_with_its_cures(tmp_path: Path) -> None:
    path = write_run(tmp_path, line(step=1))
    with serving(tmp_path) as port, viewer(port) as websocket:
        told(websocket)
        append(path, line(kind="failure", time=time.time(), **FAILURE))
        stage = told(websocket)["set"]["stages"]["train_detection"]
    assert (stage["status"], stage["failure"]["cures"]) == ("failed", FAILURE["cures"])
