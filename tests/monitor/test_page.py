"""The monitor's page in a real Chromium."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from make.browser import Tab
from make.monitor_runs import FAILURE, STAGE, DrawnRun, append, drawn_run, line, write_run
from make.monitor_server import serving
from pillsnap.monitor.server import PAGE_DIR
from pillsnap.operation.diagnosis import known_failures
from pillsnap.places import STAGES

pytestmark = pytest.mark.slow


@contextmanager
def opened(
    tab: Tab, folder: Path, events: bytes | None = None, **options: Any
) -> Iterator[tuple[Path, int]]:
    """The page of a run, by default one in the middle of its classification."""
    path = write_run(folder / "demo", drawn_run(time.time()) if events is None else events)
    with serving(folder / "demo") as port:
        tab.open(f"http://127.0.0.1:{port}/", **options)
        yield path, port


def finished_run() -> bytes:
    run = DrawnRun()
    for stage in STAGES:
        run.add(stage, "start", stage[0], epoch=0, total=1)
        run.add(stage, "end", stage[0], metrics={"minutes": 0.2})
    return run.text(time.time() - 60)


def epoch_end(epoch: int) -> bytes:
    run = DrawnRun()
    run.epoch(STAGE, "c2", epoch, 18)
    run.add(STAGE, "progress", "c2", epoch=epoch + 1, step=1, total=20, metrics={"loss": 0.4})
    return run.text(time.time())


def text_of(tab: Tab, name: str) -> str:
    return str(tab.value(f"document.getElementById('{name}').innerText"))


def test_a_korean_browser_gets_korean_and_a_gpu_its_readings(tab: Tab, tmp_path: Path) -> None:
    with opened(tab, tmp_path, drawn_run(time.time(), gpu=True), locale="ko-KR"):
        assert tab.shows("#train_classification", "에폭 12/18, 스텝 11/20")
        assert tab.shows("#log", "자료/K-000030")
        assert tab.value("document.documentElement.lang") == "ko"
        assert tab.shows("#machine", "RTX 5080")
        assert tab.shows("#machine", "12.9 / 15.9 GB")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_trainings_are_shown_and_no_other_host_is_asked(tab, tmp_path, scheme) -> None:
    with opened(tab, tmp_path, scheme=scheme) as (path, port):
        assert tab.shows("#train_detection", "Epoch 18 of 18")
        assert tab.shows("#train_detection", "mAP50-95")
        assert tab.shows("#whole", "Evaluation has no earlier run")
        assert tab.shows("#data", "3 checks passed")
        assert tab.shows("#train_classification", "top-5")
        assert tab.comes_true("document.querySelectorAll('.training canvas').length === 6")
        assert tab.shows("#machine", "GPU: none")
        assert "GPU load" not in text_of(tab, "machine")
        append(path, epoch_end(12))
        assert tab.shows("#train_classification", "Epoch 13")
        tab.value("document.querySelector('#train_detection td input').click()")
        tab.value("document.getElementById('language').click()")
        assert tab.shows("#train_detection figure", "이전 실행")
    ours = (f"http://127.0.0.1:{port}/", f"ws://127.0.0.1:{port}/")
    assert [url for url in tab.requests if not url.startswith(ours)] == []
    assert len(tab.requests) > 8
    assert tab.complaints == []


def test_metrics_of_this_run_are_held_against_their_goals(tab: Tab, tmp_path: Path) -> None:
    with opened(tab, tmp_path, finished_run()):
        assert tab.shows("#results", "goal met")
        assert tab.shows("#results", "revision 0123456789ab · run e")
        assert "earlier" not in text_of(tab, "results")


@pytest.mark.parametrize("trains", [True, False], ids=["a new training", "a fresh clone"])
def test_metrics_of_an_earlier_run_meet_no_goal(tab: Tab, tmp_path: Path, trains: bool) -> None:
    events = finished_run() + line(kind="start", run="x", time=time.time() + 60)
    with opened(tab, tmp_path, events if trains else b""):
        assert tab.shows("#results", "From an earlier run")
        assert tab.shows("#results", "0.9512")
        text = text_of(tab, "results")
        assert not any(word in text for word in ("goal met", "below goal", "over goal"))
        faded = "getComputedStyle(document.querySelector('#results .earlier')).filter !== 'none'"
        assert tab.value(faded)


def test_a_failure_is_an_alert_and_the_log_is_filtered_and_never_markup(tab, tmp_path) -> None:
    with opened(tab, tmp_path) as (path, _):
        append(path, line(time=time.time(), stage=STAGE, kind="failure", run="c2", **FAILURE))
        assert tab.shows("[role=alert]", FAILURE["cures"][0])
        select = "const s = document.getElementById('level'); s.value = 'WARNING';"
        tab.value(f"{select} s.dispatchEvent(new Event('change'))")
        owned = "<img src=x onerror=document.title='owned'>"
        append(path, line(kind="log", level="WARNING", message=owned, time=time.time()))
        assert tab.shows("#log", owned)
        assert tab.value("document.querySelectorAll('#log img').length") == 0
        assert "INFO" not in text_of(tab, "log")


def test_known_failures_have_korean_texts_and_keep_their_values(tab, tmp_path) -> None:
    texts = orjson.loads((PAGE_DIR / "failures.json").read_bytes())
    known = known_failures().values()
    remarks = {cure.partition("  # ")[2] for one in known for cure in one.cures} - {""}
    plain = {text for one in known for text in (one.fact, one.cause)}
    assert texts.keys() >= plain | remarks
    for english, korean in texts.items():
        assert sorted(re.findall(r"{\w+}", english)) == sorted(re.findall(r"{\w+}", korean))
    cause = "Free here: 1 GB; temporary folder: 2 GB."
    failure = {
        "message": "The GPU ran out of memory.",
        "cause": cause,
        "cures": ["a  # who else uses it"],
    }
    events = drawn_run(time.time()) + line(
        time=time.time(), stage=STAGE, kind="failure", run="c2", **failure
    )
    with opened(tab, tmp_path, events, locale="ko-KR"):
        assert tab.shows("[role=alert]", "GPU 메모리가 부족합니다.")
        assert tab.shows("[role=alert]", "남은 공간: 1 GB, 임시 폴더: 2 GB.")
        assert tab.shows("[role=alert]", "a  # GPU를 사용하는")


def test_epochs_advance_without_a_reload_even_after_a_server_restart(tab, tmp_path) -> None:
    with opened(tab, tmp_path) as (path, port):
        assert tab.shows("#train_classification", "Epoch 12 of 18, step 11 of 20")
        append(path, epoch_end(12))
        assert tab.shows("#train_classification", "Epoch 13 of 18, step 1 of 20")
    assert tab.comes_true("document.getElementById('link').dataset.state !== 'live'")
    append(path, epoch_end(13), epoch_end(14))
    with serving(tmp_path / "demo", port):
        assert tab.shows("#train_classification", "Epoch 15")
        assert tab.value("document.getElementById('link').dataset.state") == "live"
    assert sum(url.endswith("/main.js") for url in tab.requests) == 1


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_overflows_and_every_control_has_a_name_and_a_key(tab, tmp_path, width) -> None:
    with opened(tab, tmp_path, width=width):
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
