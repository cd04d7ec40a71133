"""Both pages behind a proxy that strips a prefix, in a real browser."""

import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from make.browser import Tab
from make.drawn_models import recogniser
from make.monitor_runs import append, drawn_run, line, write_run
from make.monitor_server import LOCAL, POLL_S
from make.prefix import PREFIX, below
from make.servers import running
from make.services import app
from pillsnap.monitor.server import create_app
from pillsnap.monitor.server import server as monitoring
from pillsnap.web import server as web

pytestmark = pytest.mark.slow

DROP = """(async () => {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [300, 200];
    const pen = canvas.getContext('2d');
    pen.fillStyle = 'rgb(90,90,90)'; pen.fillRect(0, 0, 300, 200);
    pen.fillStyle = 'rgb(250,60,60)'; pen.fillRect(20, 30, 60, 60);
    const blob = await new Promise((done) => canvas.toBlob(done));
    await recognise([new File([blob], '알약.png', { type: 'image/png' })]);
})()"""


@pytest.mark.parametrize("websockets", [True, False], ids=["socket", "no socket"])
def test_the_monitor_works_under_a_prefix(tab: Tab, tmp_path: Path, websockets: bool) -> None:
    path = write_run(tmp_path / "demo", drawn_run(time.time()))
    monitor = create_app(tmp_path / "demo", LOCAL, POLL_S)
    with running(monitoring(below(monitor, websockets))) as port:
        url = f"http://127.0.0.1:{port}{PREFIX}"
        tab.open(url)
        assert tab.comes_true("document.getElementById('link')?.dataset.state === 'live'")
        assert tab.shows("#train_classification", "Epoch 12 of 18, step 11 of 20")
        append(path, line(stage="evaluate", kind="log", message="news", time=time.time()))
        assert tab.shows("#log", "news")
    own = (url, url.replace("http", "ws"))
    assert [one for one in tab.requests if not one.startswith(own)] == []
    assert (f"{url}api/state" in tab.requests) is not websockets


@pytest.mark.parametrize(("temperature", "look"), [(1.0, "confident"), (20.0, "doubtful")])
def test_the_service_works_under_a_prefix(tab, tmp_path, temperature, look) -> None:
    tool = recogniser()
    tool.calibration = replace(tool.calibration, temperature=temperature)
    with running(web.server(below(app(tmp_path, tool), websockets=False), 1)) as port:
        url = f"http://127.0.0.1:{port}{PREFIX}"
        tab.open(url)
        tab.value(DROP)
        assert tab.shows(f"#results .{look}", "가나정 0mg")
        text = tab.value("document.getElementById('results').innerText")
        assert (">99%" in text, "\nor 가나정 3mg K-000003" in text) == (
            look == "confident",
            look == "doubtful",
        )
        assert httpx.get(f"{url}v1/model").status_code == 200
        assert httpx.get(f"{url}healthz").status_code == 200
    assert [one for one in tab.requests if not one.startswith((url, "blob:"))] == []
    assert tab.complaints == []
