"""Looks at every page in a real Chromium: axe-core's violations, console errors, outside requests,
screenshots.

    npm install --prefix /tmp/axe axe-core
    PYTHONPATH=tests:src python benchmarks/pages.py artifacts/demo out/ \
        --axe /tmp/axe/node_modules/axe-core/axe.min.js [--photos data/demo/.../*.png]

The dashboard shows the folder's own events: cut in the middle of a training, whole, and with a
failure. The upload page gets the photos, which needs the folder's checkpoints and `params.yaml` in
the current folder. Exit code 1 where a page has a serious or critical violation.
"""

import argparse
import base64
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
from websockets.sync.client import connect

from make.browser import FLAGS, Tab
from make.monitor_runs import FAILURE, line
from make.monitor_server import serving
from make.servers import running

LOOKS = {  # width, colour scheme, language
    "desktop": (1366, "light", "en"), "phone": (390, "light", "en"),
    "dark": (1366, "dark", "en"), "korean": (1366, "light", "ko"),
    "phone_korean_dark": (390, "dark", "ko"),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("artifacts", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--axe", type=Path, required=True)
    parser.add_argument("--photos", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    bad = 0
    with chromium() as websocket, tempfile.TemporaryDirectory() as scratch:
        for name, path in dashboards(options.artifacts, Path(scratch)):
            with serving(path) as port:
                bad += look(websocket, options, name, f"http://127.0.0.1:{port}/")
                for page in ("report.html", "validation.html") if name == "after" else ():
                    url = f"http://127.0.0.1:{port}/artifacts/{page}"
                    bad += look(websocket, options, page.removesuffix(".html"), url)
        if options.photos:
            bad += upload(websocket, options)
    sys.exit(1 if bad else 0)


def dashboards(artifacts: Path, scratch: Path) -> Iterator[tuple[str, Path]]:
    """Copies of the folder whose last event is now, by what the dashboard shows."""
    lines = (artifacts / "live" / "events.jsonl").read_bytes().splitlines()
    events = [orjson.loads(each) for each in lines]
    trains = [i for i, e in enumerate(events) if e["stage"] == "train_classification"]
    middle = events[: trains[len(trains) // 2]]
    failed = {"stage": "train_classification", "kind": "failure", **FAILURE}
    states = {"empty": [], "during": middle, "after": events, "failed": [*middle, failed]}
    for name, kept in states.items():
        folder = scratch / name / "artifacts" / artifacts.name
        shutil.copytree(artifacts, folder)
        last = {"time": middle[-1]["time"], "run": middle[-1]["run"]}
        kept = [{**last, **event} for event in kept]
        shift = time.time() - kept[-1]["time"] if kept else 0
        text = b"".join(line(**{**event, "time": event["time"] + shift}) for event in kept)
        (folder / "live" / "events.jsonl").write_bytes(text)
        for made in ("metrics.json", "validation.json") if name == "after" else ():
            (folder / made).touch()
        yield name, folder


def look(websocket, options, name: str, url: str, prepare=lambda tab: None) -> int:
    """Screenshots in every look; prints and counts the serious violations and complaints."""
    bad = 0
    for look_name, (width, scheme, locale) in LOOKS.items():
        tab = Tab(websocket)
        tab.open(url, width, scheme, locale)
        time.sleep(1.0)  # charts are drawn after the first message
        prepare(tab)
        found = violations(tab, options.axe)
        outside = [
            u for u in tab.requests if "127.0.0.1" not in u and u[:5] not in ("data:", "blob:")
        ]
        for problem in [*found, *tab.complaints, *outside]:
            print(f"{name} {look_name}: {problem}")
        bad += len(found) + len(tab.complaints) + len(outside)
        shot(tab, width, options.out / f"{name}_{look_name}.png")
        tab.close()
    print(f"{name}: {bad} problems in {len(LOOKS)} looks")
    return bad


def violations(tab: Tab, axe: Path) -> list[str]:
    tab.value(axe.read_text(encoding="utf-8"))
    run = "axe.run().then((done) => JSON.stringify(done.violations))"
    params = {"expression": run, "awaitPromise": True, "returnByValue": True}
    answer = tab.call("Runtime.evaluate", **params)["result"]
    return [
        f"{found['impact']} {found['id']}: {node['html'][:160]} {node['failureSummary']}"
        for found in orjson.loads(answer["value"])
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]


def shot(tab: Tab, width: int, path: Path) -> None:
    height = min(6000, int(tab.value("document.documentElement.scrollHeight")))
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    tab.call("Emulation.setDeviceMetricsOverride", **size)
    time.sleep(0.3)
    image = tab.call("Page.captureScreenshot", format="png")["data"]
    path.write_bytes(base64.b64decode(image))


def upload(websocket, options) -> int:
    from pillsnap.prediction import load
    from pillsnap.register import store
    from pillsnap.service.app import create_app
    from pillsnap.service.requests import Limits
    from pillsnap.web import server
    from pillsnap.web.guard import Access

    register = store.current(load.classes_path("torch", None))
    limits = Limits(8, 32, 32 * 10**6, 8)
    app = create_app(load.load("torch", None, "cpu", imprint=None), Access(), limits, register)

    def send(tab: Tab) -> None:
        root = tab.call("DOM.getDocument")["root"]["nodeId"]
        node = tab.call("DOM.querySelector", nodeId=root, selector="#files")["nodeId"]
        files = [str(path.resolve()) for path in options.photos]
        codes = "K-923873,1\\nK-950698,1\\nK-921591,1"
        tab.value(f"document.querySelector('#prescription').value = '{codes}'")
        tab.call("DOM.setFileInputFiles", nodeId=node, files=files)
        assert tab.comes_true(
            f"document.querySelectorAll('article').length === {len(options.photos)}"
        )
        tab.value("$('imprint').value = '80'; $('search').requestSubmit()")
        assert tab.comes_true("document.querySelectorAll('#found li').length > 0")

    with running(server.server(app, 5)) as port:
        url = f"http://127.0.0.1:{port}/"
        return look(websocket, options, "upload_empty", url) + look(
            websocket, options, "upload", url, send
        )


@contextmanager
def chromium():
    with tempfile.TemporaryDirectory() as profile:
        command = [shutil.which("chromium"), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            rows = (row for row in process.stderr if "DevTools listening on " in row)
            address = next(rows).split("DevTools listening on ")[1].strip()
            threading.Thread(target=process.stderr.read, daemon=True).start()
            try:
                with connect(address, max_size=None, compression=None, ping_interval=None) as one:
                    yield one
            finally:
                process.terminate()


if __name__ == "__main__":
    main()
