"""The monitor's web server: its page, its API, and how soon it sees what is new."""

import asyncio
from pathlib import Path

import pytest

from make.monitor_runs import append, drawn_run, line, write_run
from make.monitor_server import client
from pillsnap.monitor.server import PAGE_DIR, Watch
from pillsnap.places import TRAININGS

PAGE_FILES = sorted(path.name for path in PAGE_DIR.iterdir())
NO_PAGES = [
    "/../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd", "//etc/passwd",
    "/page/..%5c..%5cwindows", "/page/../server.py", "/page/%2e%2e/server.py", "/page/",
    "/page/..%2fserver.py", "/page//etc/passwd", "/page/index.html%00.css", "/index.html%00.css",
    "/monitor.css/../../server.py", "/monitor.css/x", "/server.py", "/monitor.js?../../x",
    "/api/state/../../params.yaml", "/api", "/api/", "/api/state/", "/ws", "/docs", "/openapi.json",
    "/events.jsonl", "/artifacts/demo/live/events.jsonl", "/.git/config",
    "/" + "a" * 300, "/page/" + "a" * 300,
]  # fmt: skip
METHODS = ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "CONNECT", "PROPFIND"]


def test_the_files_of_the_page_are_served_and_nothing_else_and_nothing_is_written(tmp_path) -> None:
    with client(tmp_path) as web:
        for path in ("/", *(f"/page/{name}" for name in PAGE_FILES)):
            assert web.get(path).status_code == 200, path
        for path in NO_PAGES:
            assert web.get(path, follow_redirects=False).status_code == 404, path
        for method in METHODS:
            assert web.request(method, "/api/state").status_code == 405, method


def test_reports_and_their_pictures_are_served_with_a_policy_of_their_own(tmp_path: Path) -> None:
    write_run(tmp_path / "demo", drawn_run(1e9))
    (tmp_path / "demo" / "report.html").write_text("<p>x</p>")
    with client(tmp_path / "demo") as web:
        answer = web.get("/artifacts/report.html?1")
        assert (answer.status_code, answer.text) == (200, "<p>x</p>")
        assert "sandbox" in answer.headers["content-security-policy"]
        assert "sandbox" not in web.get("/").headers["content-security-policy"]
        pages = web.get("/api/state").json()["pages"]
        assert {name for name, time_s in pages.items() if time_s} == {"report.html"}
        absent = ["validation.html", "metrics.json", "../demo/report.html", "live/events.jsonl"]
        assert [web.get(f"/artifacts/{name}").status_code for name in absent] == [404] * 4


def test_the_state_holds_trainings_earlier_runs_and_summaries(tmp_path: Path) -> None:
    write_run(tmp_path / "demo", drawn_run(1e9))
    with client(tmp_path / "demo") as web:
        state = web.get("/api/state").json()
    source = state["source"]
    assert (source["scale"], source["problem"], source["skipped"]) == ("demo", "", 0)
    assert source["path"] == f"{tmp_path.name}/demo/live/events.jsonl"
    numbers = [row["number"] for row in state["logs"]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    detection, classification = (state["stages"][name] for name in TRAININGS)
    assert (detection["status"], detection["epoch"], detection["epochs"]) == ("done", 18, 18)
    assert (classification["epoch"], classification["step"]) == (12, 11)
    assert classification["goals"] == {"top1": 0.85, "minutes": 120.0}
    runs = [(run["run"], len(run["metrics"]["map50"])) for run in state["runs"][TRAININGS[0]]]
    assert runs == [("d0", 12), ("d1", 18), ("d2", 18)]
    files = state["files"]
    assert files["validation"]["checks"][0]["examples"] == ["자료/K-000030.png"]
    assert files["metrics"]["targets"]["detection_map50"]["goal"] == 0.3
    assert (files["sampling"], set(files)) == (None, {"validation", "metrics", "sampling"})


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff", b"[" * 100_000, b"x" * (5 << 20), b""])
def test_broken_files_are_named_and_break_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "validation.json").write_bytes(content)
    (tmp_path / "live" / "events.jsonl").mkdir(parents=True)  # cannot be read
    with client(tmp_path) as web:
        state = web.get("/api/state").json()
    assert "validation.json" in state["files"]["validation"]["problem"]
    assert "events.jsonl" in state["source"]["problem"]


@pytest.mark.parametrize("before", [b"", line(step=1)], ids=["no run yet", "a run that waits"])
def test_events_after_a_quiet_look_do_not_wait_for_the_next(tmp_path: Path, before: bytes) -> None:
    path = write_run(tmp_path, before)
    if not before:
        path.unlink()

    async def seen_soon() -> bool:
        watch = Watch(tmp_path)
        await watch.look()
        known = watch.hub.seq
        looking = asyncio.create_task(watch.forever(poll_s=5.0))
        await asyncio.sleep(0.2)
        assert watch.hub.seq == known  # the look was quiet
        append(path, line(step=2))
        await watch.hub.wait_past(known, 2.0)
        looking.cancel()
        return watch.hub.seq > known

    assert asyncio.run(seen_soon())
