"""A real Chromium, driven over its DevTools socket: the fixtures `browser` and `tab`."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
WAIT_MS = 30_000


class Tab:
    """One tab: what it shows, its requests, its errors and warnings."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._websocket = websocket
        self._number = 0
        self._session = ""
        self._target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=self._target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._call(method, self._session, **params)

    def close(self) -> None:
        self._call("Target.closeTarget", targetId=self._target)

    def open(self, url: str, width: int = 1280, scheme: str = "light", locale: str = "en") -> None:
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        self.call("Emulation.setEmulatedMedia", features=[feature])
        language = f"Object.defineProperty(navigator, 'language', {{get: () => '{locale}'}})"
        self.call("Page.addScriptToEvaluateOnNewDocument", source=language)
        self.call("Page.navigate", url=url)
        loaded = "location.href !== 'about:blank' && document.readyState === 'complete'"
        assert self.comes_true(loaded)

    def value(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    def comes_true(self, condition: str) -> bool:
        """Whether a JavaScript condition holds within WAIT_MS."""
        promise = (
            f"new Promise((done) => {{ const end = Date.now() + {WAIT_MS};"
            f" const look = () => ({condition}) ? done(true)"
            " : Date.now() > end ? done(false) : setTimeout(look, 50); look(); })"
        )
        params = {"expression": promise, "awaitPromise": True, "returnByValue": True}
        return self.call("Runtime.evaluate", **params)["result"].get("value") is True

    def shows(self, selector: str, text: str) -> bool:
        node = f"document.querySelector({json.dumps(selector)})"
        return self.comes_true(f"{node}?.innerText.includes({json.dumps(text)})")

    def press(self, key: str, code: int) -> None:
        for kind in ("keyDown", "keyUp"):
            event = {"type": kind, "key": key, "windowsVirtualKeyCode": code}
            event |= {"text": "\r"} if key == "Enter" else {}
            self.call("Input.dispatchKeyEvent", **event)

    def _call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        self._number += 1
        call = {"id": self._number, "method": method, "params": params}
        self._websocket.send(json.dumps({**call, **({"sessionId": session} if session else {})}))
        while True:
            message = json.loads(self._websocket.recv(timeout=60))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return dict(message["result"])
            if message.get("sessionId") == self._session:
                self._notice(message.get("method", ""), message.get("params", {}))

    def _notice(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        if method == "Network.webSocketCreated":
            self.requests.append(params["url"])
        loud = method == "Runtime.exceptionThrown" or (
            method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning")
        )
        if loud or (method == "Runtime.consoleAPICalled" and params["type"] != "log"):
            self.complaints.append(json.dumps(params))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientConnection]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no Chromium: apt-get install chromium (Debian), then run this test again")
    profile = tmp_path_factory.mktemp("profile")
    command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as chromium:
        assert chromium.stderr is not None
        lines = (row for row in chromium.stderr if "DevTools listening on " in row)
        address = next(lines).split("DevTools listening on ")[1].strip()
        threading.Thread(target=chromium.stderr.read, daemon=True).start()
        with connect(address, max_size=None, compression=None, ping_interval=None) as websocket:
            yield websocket
        chromium.terminate()


@pytest.fixture
def tab(browser: ClientConnection) -> Iterator[Tab]:
    opened = Tab(browser)
    yield opened
    opened.close()
