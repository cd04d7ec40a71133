"""The service with drawn models, in the test's own process."""

import io
import threading
from dataclasses import replace

import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from make.drawn_models import GREEN, RED, frame, recogniser
from pillsnap.prediction.load import Loaded
from pillsnap.register.store import Drug, Register
from pillsnap.service.app import create_app
from pillsnap.service.requests import Limits
from pillsnap.web.guard import Access

LOCAL = Access()
PAIR = frame((20, 30, 60, RED), (150, 40, 50, GREEN))
DRUG = Drug("1", "K-000000", "가나정", ("111",), "원형", ("하양",), "HM 10", "")
REGISTER = Register("table.csv", "", "2026-01-01", "2026-01-02", (DRUG,))
LIMITS = Limits(batch_size=4, queue=4, request_bytes=200_000, pictures=3, candidates=10)


def loaded(tmp_path, tool=None) -> Loaded:
    """Models that take pictures of up to 100,000 pixels."""
    return Loaded(tool or recogniser(), 4, 100_000, "torch", "demo", tmp_path / "none.json")


def app(tmp_path, tool=None, access=LOCAL, **limits: int) -> Starlette:
    return create_app(loaded(tmp_path, tool), access, replace(LIMITS, **limits), REGISTER)


def client(app: Starlette) -> TestClient:
    return TestClient(app, base_url="http://localhost", raise_server_exceptions=False)


def png(pixels: np.ndarray = PAIR) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def post(client, content=None, query="", **headers):
    sent = {"content-type": "image/png", **headers}
    return client.post(f"/v1/recognise{query}", content=content or png(), headers=sent)


def files(*contents: bytes):
    """Pictures as httpx sends them in a form."""
    return [("image", (f"{i}.png", content, "image/png")) for i, content in enumerate(contents)]


class Gate:
    """A recogniser that waits until it is opened, and records the sizes of its batches."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.batches: list[int] = []
        self._tool = recogniser()
        self.classes = self._tool.classes

    def recognise(self, frames, top, codes=None):
        self.batches.append(len(frames))
        assert self.open.wait(10)
        return self._tool.recognise(frames, top, codes)
