import asyncio
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from make.drawn_models import GREEN, RED, STRANGE, frame, recogniser
from pillsnap.errors import MachineError, UserError
from pillsnap.prediction.load import Loaded
from pillsnap.service import command, requests
from pillsnap.service.app import PAGE_DIR, ServiceOptions, create_app
from pillsnap.service.batching import Batcher
from pillsnap.service.counters import Figures
from pillsnap.service.door import Access
from pillsnap.service.requests import Limits

KEY = "0123456789abcdef"
PAIR = frame((20, 30, 60, RED), (150, 40, 50, GREEN))


def loaded(tmp_path, tool=None) -> Loaded:
    return Loaded(tool or recogniser(), 4, 100_000, "torch", "demo", tmp_path / "none.json")


def options(queue=4, request_bytes=200_000) -> ServiceOptions:
    return ServiceOptions(4, queue, Limits(request_bytes, 3, 10))


@pytest.fixture
def client(tmp_path):
    app = create_app(loaded(tmp_path), Access(), options())
    with TestClient(app, base_url="http://localhost") as client:
        yield client


def png(pixels: np.ndarray = PAIR) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def post(client, content=None, query="", **headers):
    sent = {"content-type": "image/png", **headers}
    return client.post(f"/v1/recognise{query}", content=content or png(), headers=sent)


def files(*contents: bytes):
    return [("image", (f"{i}.png", content, "image/png")) for i, content in enumerate(contents)]


def test_a_picture_is_answered_with_its_pills(client) -> None:
    answer = post(client, query="?top=2")
    assert answer.status_code == 200
    image = answer.json()["images"][0]
    assert (image["width"], image["height"]) == (300, 200)
    assert [pill["code"] for pill in image["pills"]] == ["K-000000", "K-000001"]
    assert image["pills"][0]["box"] == [20, 30, 60, 60]
    assert image["pills"][0]["edi_codes"] == ["111", "222"]
    assert len(image["pills"][0]["candidates"]) == 2


def test_an_unknown_pill_has_no_code_but_candidates(client) -> None:
    pill = post(client, png(frame((20, 30, 60, STRANGE)))).json()["images"][0]["pills"][0]
    assert (pill["known"], pill["code"]) == (False, None)
    assert pill["candidates"]


def test_several_pictures_are_answered_in_their_order(client) -> None:
    pictures = files(png(frame((20, 30, 60, GREEN))), png(frame()), png(frame((20, 30, 60, RED))))
    images = client.post("/v1/recognise", files=pictures).json()["images"]
    codes = [[pill["code"] for pill in image["pills"]] for image in images]
    assert codes == [["K-000001"], [], ["K-000000"]]
    assert [image["name"] for image in images] == ["0.png", "1.png", "2.png"]


def test_only_listed_codes_are_named(client) -> None:
    pills = post(client, query="?codes=K-000001,K-000002").json()["images"][0]["pills"]
    assert {c["code"] for pill in pills for c in pill["candidates"]} == {"K-000001", "K-000002"}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?top=0", "top"),
        ("?top=11", "top"),
        ("?top=x", "top"),
        ("?codes=", "codes"),
        ("?codes=K-1", "codes"),
        ("?codes=K-999999", "never learnt"),
    ],
)
def test_a_parameter_out_of_bounds_is_refused(client, query: str, words: str) -> None:
    answer = post(client, query=query)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["fact"]


def test_a_good_picture_is_answered_beside_a_broken_one(client) -> None:
    answer = client.post("/v1/recognise", files=files(png(), b"words"))
    assert answer.status_code == 200
    good, bad = answer.json()["images"]
    assert len(good["pills"]) == 2
    assert "not a picture" in bad["error"]["fact"]


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"words", 415), (png()[:-40], 422), (png(np.zeros((400, 300, 3), np.uint8)), 413)],
    ids=["text", "cut short", "too many pixels"],
)
def test_a_picture_that_cannot_be_read_has_its_own_status(client, content, status) -> None:
    answer = post(client, content)
    assert answer.status_code == status
    assert answer.json()["images"][0]["error"]["cure"]


def test_a_request_of_too_many_bytes_is_refused(client) -> None:
    assert post(client, bytes(200_001)).status_code == 413


def test_a_request_that_hides_its_size_is_refused_too(client) -> None:
    parts = (bytes(50_000) for _ in range(5))
    headers = {"content-type": "image/png"}
    answer = client.post("/v1/recognise", content=parts, headers=headers)
    assert answer.status_code == 413


def test_a_request_of_too_many_pictures_is_refused(client) -> None:
    answer = client.post("/v1/recognise", files=files(*[png()] * 4))
    assert answer.status_code == 413


def test_a_request_of_another_kind_is_refused(client) -> None:
    assert post(client, b"{}", **{"content-type": "application/json"}).status_code == 415


def test_a_form_without_pictures_is_refused(client) -> None:
    boundary = b"--x--\r\n"
    answer = post(client, boundary, **{"content-type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 400


def test_a_broken_form_is_refused(client) -> None:
    answer = post(client, b"nothing", **{"content-type": "multipart/form-data"})
    assert answer.status_code == 400


def test_another_method_and_another_path_are_refused_as_json(client) -> None:
    assert client.get("/v1/recognise").status_code == 405
    assert client.get("/v2").json()["error"]["fact"] == "Not Found"


def test_a_foreign_host_is_refused(client) -> None:
    assert client.get("/healthz", headers={"host": "evil.example"}).status_code == 400


def test_a_foreign_origin_is_refused(client) -> None:
    assert post(client, origin="http://evil.example").status_code == 403
    assert post(client, origin="http://localhost").status_code == 200


@pytest.fixture
def guarded(tmp_path):
    app = create_app(loaded(tmp_path), Access(key=KEY), options())
    with TestClient(app, base_url="http://localhost") as client:
        yield client


@pytest.mark.parametrize("path", ["/v1/model", "/metrics"])
def test_with_a_key_the_rest_is_closed_without_it(guarded, path: str) -> None:
    assert guarded.get(path).status_code == 401
    assert guarded.get(path, headers={"x-api-key": KEY + "x"}).status_code == 401
    assert guarded.get(path, headers={"x-api-key": KEY}).status_code == 200
    assert guarded.get(path, headers={"authorization": f"Bearer {KEY}"}).status_code == 200


def test_with_a_key_health_and_page_stay_open(guarded) -> None:
    assert guarded.get("/healthz").json() == {"ok": True}
    assert guarded.get("/").status_code == 200


def test_the_model_is_described(client) -> None:
    model = client.get("/v1/model").json()
    assert model["classes"][0] == {
        "code": "K-000000", "drug_name": "가나정 0mg", "edi_codes": ["111", "222"],
    }  # fmt: skip
    assert model["refusal"] == {"score": "class_mean", "threshold": 0.98}


def test_metrics_count_requests_pictures_and_pills(client) -> None:
    post(client)
    post(client, b"words")
    text = client.get("/metrics").text
    for line in (
        'pillsnap_requests_total{status="200"} 1',
        'pillsnap_requests_total{status="415"} 1',
        "pillsnap_pictures_total 1",
        "pillsnap_refused_pictures_total 1",
        "pillsnap_pills_total 2",
        "pillsnap_requests_in_flight 0",
        "pillsnap_request_seconds_count 2",
        'pillsnap_request_seconds_bucket{le="+Inf"} 2',
    ):
        assert line in text.splitlines()


def test_every_route_is_in_the_openapi_description(client) -> None:
    told = client.get("/openapi.json").json()["paths"]
    assert set(told) == {"/v1/recognise", "/v1/model", "/healthz", "/metrics"}
    assert "429" in told["/v1/recognise"]["post"]["responses"]


def test_the_page_asks_nothing_of_other_places() -> None:
    for path in PAGE_DIR.iterdir():
        assert not re.search(r"https?://|src=\"//|@import", path.read_text("utf-8")), path.name


def test_the_page_may_load_only_its_own(client) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert policy.startswith("default-src 'self'; img-src 'self' blob:")


class Gate:
    """A recogniser that waits to be let on, and remembers what came together."""

    def __init__(self) -> None:
        import threading

        self.open = threading.Event()
        self.batches: list[int] = []
        self._tool = recogniser()
        self.classes = self._tool.classes

    def recognise(self, frames, top, codes=None):
        self.batches.append(len(frames))
        assert self.open.wait(10)
        return self._tool.recognise(frames, top, codes)


async def settled(batcher_task) -> None:
    for _ in range(20):
        await asyncio.sleep(0)
    assert not batcher_task.done()


def test_what_waits_goes_through_the_models_together(tmp_path) -> None:
    gate = Gate()

    async def scene() -> list:
        batcher = Batcher(loaded(tmp_path, gate), 4, Figures())
        worker = asyncio.create_task(batcher.forever())
        first = asyncio.create_task(batcher.recognise(PAIR, 1, None))
        await settled(worker)
        small = frame((20, 30, 60, RED))[:100, :100]  # four of them fit into the pixels of a batch
        others = [asyncio.create_task(batcher.recognise(small, 1, None)) for _ in range(5)]
        await settled(worker)
        gate.open.set()
        answers = await asyncio.gather(first, *others)
        worker.cancel()
        return answers

    answers = asyncio.run(scene())
    assert gate.batches == [1, 4, 1]
    assert [len(pills) for pills in answers] == [2, 1, 1, 1, 1, 1]


def test_a_batch_holds_no_more_pixels_than_one_picture_may_have(tmp_path) -> None:
    gate = Gate()

    async def scene() -> None:
        batcher = Batcher(loaded(tmp_path, gate), 4, Figures())
        worker = asyncio.create_task(batcher.forever())
        jobs = [asyncio.create_task(batcher.recognise(PAIR, 1, None)) for _ in range(3)]
        gate.open.set()
        await asyncio.gather(*jobs)
        worker.cancel()

    asyncio.run(scene())
    assert gate.batches == [1, 1, 1]  # two of 60,000 pixels are more than 100,000


def test_a_failing_model_fails_its_requests_and_not_the_service(tmp_path) -> None:
    class Failing(Gate):
        def recognise(self, frames, top, codes=None):
            if not self.open.is_set():
                self.open.set()
                raise RuntimeError("broken")
            return super().recognise(frames, top, codes)

    app = create_app(loaded(tmp_path, Failing()), Access(), options())
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        assert post(client).status_code == 500
        assert post(client).status_code == 200


async def status_of(app, stalls=False) -> int:
    """Of a request with one picture, of which only the first half arrives where it stalls."""
    statuses = []
    parts = iter([png()[:100]] if stalls else [png()])

    async def receive():
        for part in parts:
            return {"type": "http.request", "body": part, "more_body": stalls}
        return await asyncio.Event().wait()

    async def send(message) -> None:
        statuses.append(message.get("status"))

    scope = {
        "type": "http", "method": "POST", "path": "/v1/recognise", "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"image/png")],
    }  # fmt: skip
    await app(scope, receive, send)
    return statuses[0]


def test_more_requests_than_it_holds_are_told_to_come_again(tmp_path) -> None:
    gate = Gate()
    app = create_app(loaded(tmp_path, gate), Access(), options(queue=2))

    async def scene() -> list[int]:
        async with app.router.lifespan_context(app):
            held = [asyncio.create_task(status_of(app)) for _ in range(2)]
            while not gate.batches:
                await asyncio.sleep(0.001)
            refused = await status_of(app)
            gate.open.set()
            return [refused, *await asyncio.gather(*held), await status_of(app)]

    assert asyncio.run(scene()) == [429, 200, 200, 200]


def test_an_upload_that_stalls_gives_its_place_back(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(requests, "UPLOAD_S", 0.5)
    app = create_app(loaded(tmp_path), Access(), options(queue=1))

    async def scene() -> list[int]:
        async with app.router.lifespan_context(app):
            return [await status_of(app, stalls=True), await status_of(app)]

    assert asyncio.run(scene()) == [408, 200]


def test_beyond_loopback_a_key_is_a_must() -> None:
    with pytest.raises(UserError, match="PILLSNAP_API_KEY"):
        command.access_for("0.0.0.0", None)
    assert command.access_for("0.0.0.0", KEY) == Access(any_host=True, key=KEY)
    assert command.access_for("127.0.0.1", None) == Access()


def test_a_short_key_is_refused() -> None:
    with pytest.raises(UserError, match="16 are the least"):
        command.access_for("127.0.0.1", "short")


def test_a_busy_port_is_told() -> None:
    with command.listen("127.0.0.1", 0) as taken, pytest.raises(MachineError, match="--port"):
        command.listen("127.0.0.1", taken.getsockname()[1])


def test_warming_up_runs_both_models(tmp_path) -> None:
    tool = recogniser()
    command.warm_up(loaded(tmp_path, tool))
    assert tool.classifier.batches == [1]


def test_the_description_is_json(client) -> None:
    assert json.loads(client.get("/openapi.json").text)["openapi"] == "3.1.0"
