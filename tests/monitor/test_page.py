"""The monitor's page in a real Chromium."""

import time
from pathlib import Path

import numpy as np
import orjson
import pytest

from make.browser import Tab
from make.monitor_runs import FAILURE, DrawnRun, append, drawn_run, epoch_metrics, line, write_run
from make.monitor_server import serving
from pillsnap.places import STAGES

pytestmark = pytest.mark.slow

STAGE = "train_classification"


@pytest.fixture
def events_path(tmp_path: Path) -> Path:
    return write_run(tmp_path / "demo", drawn_run(time.time()))


def finished_run(end_s: float) -> bytes:
    """All five stages, done."""
    run = DrawnRun(np.random.default_rng(0), end_s - 1000)
    for stage in STAGES:
        run.add(stage, "start", stage[0], epoch=0, total=1)
        run.add(stage, "end", stage[0], metrics={"minutes": 0.2})
    return run.text()


def epoch_end(epoch: int) -> bytes:
    run = DrawnRun(np.random.default_rng(epoch), time.time())
    metrics = epoch_metrics(STAGE, epoch / 18, run.rng)
    run.add(STAGE, "epoch", "c2", epoch=epoch, total=18, metrics=metrics)
    run.add(STAGE, "progress", "c2", epoch=epoch + 1, step=1, total=20, metrics={"loss": 0.4})
    return run.text()


def test_both_trainings_and_a_machine_without_gpu_are_shown(
    tab: Tab, tmp_path: Path, events_path: Path
) -> None:
    with serving(tmp_path / "demo") as port:
        tab.open(f"http://127.0.0.1:{port}/")
        assert tab.shows("#train_detection", "Epoch 18 of 18")
        assert tab.shows("#train_detection", "mAP50-95")
        assert tab.shows("#train_classification", "top-5")
        assert tab.comes_true("document.querySelectorAll('.training canvas').length === 6")
        assert tab.shows("#machine", "GPU: none")
        assert "GPU load" not in tab.value("document.getElementById('machine').innerText")


def test_a_korean_browser_gets_korean_and_a_gpu_its_readings(tab: Tab, tmp_path: Path) -> None:
    write_run(tmp_path / "demo", drawn_run(time.time(), gpu=True))
    with serving(tmp_path / "demo") as port:
        tab.open(f"http://127.0.0.1:{port}/", locale="ko-KR")
        assert tab.shows("#train_classification", "에폭 12/18, 스텝 11/20")
        assert tab.shows("#log", "자료/K-000030")
        assert tab.value("document.documentElement.lang") == "ko"
        assert tab.shows("#machine", "RTX 5080")
        assert tab.shows("#machine", "12.9 / 15.9 GB")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_console_stays_empty_and_no_other_host_is_asked(
    tab: Tab, tmp_path: Path, events_path: Path, scheme: str
) -> None:
    with serving(tmp_path / "demo") as port:
        tab.open(f"http://127.0.0.1:{port}/", scheme=scheme)
        append(events_path, epoch_end(12))
        assert tab.shows("#train_classification", "Epoch 13")
        tab.value("document.querySelector('#train_detection td input').click()")
        tab.value("document.getElementById('language').click()")
        assert tab.shows("#train_detection figure", "이전 실행")
    ours = (f"http://127.0.0.1:{port}/", f"ws://127.0.0.1:{port}/")
    assert [url for url in tab.requests if not url.startswith(ours)] == []
    assert len(tab.requests) > 8
    assert tab.complaints == []


def test_metrics_of_this_run_are_held_against_their_goals(tab: Tab, tmp_path: Path) -> None:
    write_run(tmp_path / "demo", finished_run(time.time() - 60))
    with serving(tmp_path / "demo") as port:
        tab.open(f"http://127.0.0.1:{port}/")
        assert tab.shows("#results", "goal met")
        assert tab.shows("#results", "revision 0123456789ab · run e")
        assert "earlier" not in tab.value("document.getElementById('results').innerText")


@pytest.mark.parametrize("trains", [True, False], ids=["a new training", "a fresh clone"])
def test_metrics_of_an_earlier_run_meet_no_goal(tab: Tab, tmp_path: Path, trains: bool) -> None:
    events = finished_run(time.time() - 60) + line(kind="start", run="x", time=time.time() + 60)
    write_run(tmp_path / "demo", events if trains else b"")
    with serving(tmp_path / "demo") as port:
        tab.open(f"http://127.0.0.1:{port}/")
        assert tab.shows("#results", "From an earlier run")
        assert tab.shows("#results", "0.9512")
        text = tab.value("document.getElementById('results').innerText")
        assert not any(word in text for word in ("goal met", "below goal", "over goal"))
        assert tab.value(
            "getComputedStyle(document.querySelector('#results .earlier')).opacity < 1"
        )


def test_a_failure_is_an_alert_with_cures(tab: Tab, tmp_path: Path, events_path: Path) -> None:
    with serving(tmp_path / "demo") as port:
        tab.open(f"http://127.0.0.1:{port}/")
        failure = {"time": time.time(), "stage": STAGE, "kind": "failure", "run": "c2", **FAILURE}
        append(events_path, orjson.dumps(failure) + b"\n")
        assert tab.shows("[role=alert]", FAILURE["cures"][0])


def test_the_log_is_filtered_by_level_and_never_markup(
    tab: Tab, tmp_path: Path, events_path: Path
) -> None:
    with serving(tmp_path / "demo") as port:
        tab.open(f"http://127.0.0.1:{port}/")
        assert tab.shows("#log", "INFO")
        select = "const s = document.getElementById('level'); s.value = 'WARNING';"
        tab.value(f"{select} s.dispatchEvent(new Event('change'))")
        owned = "<img src=x onerror=document.title='owned'>"
        append(events_path, line(kind="log", level="WARNING", message=owned, time=time.time()))
        assert tab.shows("#log", owned)
        assert tab.value("document.querySelectorAll('#log img').length") == 0
        levels = "new Set([...document.querySelectorAll('#log b')].map((b) => b.innerText))"
        assert tab.value(f"[...{levels}].join()") == "WARNING"


def test_epochs_advance_without_a_reload_even_after_a_server_restart(
    tab: Tab, tmp_path: Path, events_path: Path
) -> None:
    with serving(tmp_path / "demo") as port:
        tab.open(f"http://127.0.0.1:{port}/")
        assert tab.shows("#train_classification", "Epoch 12 of 18, step 11 of 20")
        append(events_path, epoch_end(12))
        assert tab.shows("#train_classification", "Epoch 13 of 18, step 1 of 20")
    assert tab.comes_true("document.getElementById('link').dataset.state !== 'live'")
    append(events_path, epoch_end(13), epoch_end(14))
    with serving(tmp_path / "demo", port):
        assert tab.shows("#train_classification", "Epoch 15")
        assert tab.value("document.getElementById('link').dataset.state") == "live"
    assert sum(url.endswith("/main.js") for url in tab.requests) == 1


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_overflows_and_every_control_has_a_name_and_is_reached_by_keyboard(
    tab: Tab, tmp_path: Path, events_path: Path, width: int
) -> None:
    with serving(tmp_path / "demo") as port:
        tab.open(f"http://127.0.0.1:{port}/", width=width)
        assert tab.comes_true("document.querySelectorAll('canvas').length > 6")
        assert tab.value("document.documentElement.scrollWidth <= innerWidth")
        nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
        for _ in range(2):  # the link that skips to the content, then the button
            tab.press("Tab", 9)
        assert tab.value("document.activeElement.id") == "language"
        tab.press("Enter", 13)
        assert tab.shows("#train_detection", "검출")
    roles = {"button", "checkbox", "combobox", "img", "image", "meter", "progressbar", "region"}
    named = [n for n in nodes if n.get("role", {}).get("value") in roles and not n["ignored"]]
    nameless = [n["role"]["value"] for n in named if not n.get("name", {}).get("value")]
    assert (nameless, len(named) > 10) == ([], True)
