"""The service's routes: pictures in, named pills out, everything else refused with its status."""

import asyncio
import re

import httpx
import numpy as np
import pytest

from make import services
from make.drawn_models import GREEN, RED, STRANGE, frame
from make.services import Gate, files, png, post
from pillsnap.register import words
from pillsnap.register.search import ZONES
from pillsnap.service import requests
from pillsnap.service.app import PAGE_DIR, POLICY
from pillsnap.web.guard import access_for

KEY = "0123456789abcdef"
PAGE_ASSETS = sorted(f"/page/{path.name}" for path in PAGE_DIR.iterdir() if path.suffix != ".html")


@pytest.fixture
def client(tmp_path):
    with services.client(services.app(tmp_path)) as client:
        yield client


def test_a_picture_is_answered_with_its_pills(client) -> None:
    pixels = frame((20, 30, 60, RED), (150, 40, 50, STRANGE))
    answer = post(client, png(pixels), query="?top=2")
    assert answer.status_code == 200
    [image] = answer.json()["images"]
    known, unknown = image["pills"]
    assert (image["width"], image["height"], len(known["candidates"])) == (300, 200, 2)
    assert (known["code"], known["box"]) == ("K-000000", [20, 30, 60, 60])
    assert known["edi_codes"] == ["111", "222"]
    assert (unknown["known"], unknown["code"], len(unknown["candidates"])) == (False, None, 2)
    pills = post(client, query="?codes=K-000001,K-000002").json()["images"][0]["pills"]
    assert {c["code"] for pill in pills for c in pill["candidates"]} == {"K-000001", "K-000002"}


def test_several_pictures_are_answered_in_their_order_beside_a_broken_one(client) -> None:
    frames = (frame((20, 30, 60, GREEN)), frame(), frame((20, 30, 60, RED)))
    for contents, codes in (
        ([png(pixels) for pixels in frames], [["K-000001"], [], ["K-000000"]]),
        ([b"words", png(frames[2])], [[], ["K-000000"]]),
    ):
        answer = client.post("/v1/recognise", files=files(*contents))
        images = answer.json()["images"]
        assert answer.status_code == 200
        assert [[pill["code"] for pill in image["pills"]] for image in images] == codes
        assert [image["name"] for image in images] == [f"{i}.png" for i in range(len(codes))]
    assert "not a picture" in images[0]["error"]["fact"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        *((f"?top={top}", "top") for top in ("0", "11", "x", "-1", "²", "0000000011", "")),
        *((f"?codes={codes}", "codes") for codes in ("", "K-1")),
        ("?codes=K-999999", "no class K-999999"),
    ],
)
def test_a_parameter_out_of_bounds_is_refused(client, query: str, words: str) -> None:
    answer = post(client, query=query)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["fact"]


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"words", 415), (png()[:-40], 422), (png(np.zeros((400, 300, 3), np.uint8)), 413)],
    ids=["text", "cut short", "too many pixels"],
)
def test_a_picture_that_cannot_be_read_has_its_own_status(client, content, status) -> None:
    answer = post(client, content)
    assert answer.status_code == status
    assert answer.json()["images"][0]["error"]["cure"]


CHUNKS = (bytes(50_000) for _ in range(5))  # without a content length
PNG, FORM = {"content-type": "image/png"}, {"content-type": "multipart/form-data; boundary=x"}


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"content": bytes(200_001), "headers": PNG}, 413),
        ({"content": CHUNKS, "headers": PNG}, 413),
        ({"files": files(*[png()] * 4)}, 413),
        ({"content": b"{}", "headers": {"content-type": "application/json"}}, 415),
        ({"content": b"--x--\r\n", "headers": FORM}, 400),  # without pictures
        ({"content": b"nothing", "headers": {"content-type": "multipart/form-data"}}, 400),
    ],
)
def test_a_request_that_cannot_be_read_is_refused(client, sent: dict, status: int) -> None:
    assert client.post("/v1/recognise", **sent).status_code == status
    assert client.get("/v1/recognise").status_code == 405


@pytest.mark.parametrize(
    ("listed", "statuses", "extra"),
    [
        ("K-000000,1\nK-000001,1", ["right", "right"], 0),
        ("\ufeffcode,count\r\n111,1\r\n", ["right"], 1),  # as Excel writes it
        ("K-000000,2\nK-999999,1", ["missing", "missing"], 1),
    ],
)
@pytest.mark.parametrize("as_file", [False, True])
def test_a_prescription_is_checked(client, listed, statuses, extra, as_file) -> None:
    field = {"prescription": ("list.csv", listed, "text/csv") if as_file else (None, listed)}
    answer = client.post("/v1/check", files=[*files(png()), *field.items()])
    assert answer.status_code == 200
    verdict, [image] = answer.json()["verdict"], answer.json()["images"]
    assert [drug["status"] for drug in verdict["drugs"]] == statuses
    assert verdict["all_right"] == (not extra)
    shown = [pill for drug in verdict["drugs"] for pill in drug["pills"]] + verdict["extra"]
    assert len(verdict["extra"]) == extra
    assert {tuple(pill["box"]) for pill in shown} == {tuple(p["box"]) for p in image["pills"]}
    assert {pill["path"] for pill in shown} == {image["name"]}


@pytest.mark.parametrize(
    ("sent", "status", "fact"),
    [
        ({"files": files(png())}, 400, "prescription holds no drug"),
        ({"files": files(png()), "data": {"prescription": "K-1,x"}}, 400, "is no code and count"),
        ({"files": [("prescription", (None, "K-000000,1"))]}, 400, "no picture"),
        ({"files": files(*[png()] * 4), "data": {"prescription": "K-000000,1"}}, 413, "4 pictures"),
        ({"content": png(), "headers": PNG}, 400, "prescription holds no drug"),
    ],
)
def test_a_check_that_cannot_be_read_is_refused(client, sent, status, fact) -> None:
    answer = client.post("/v1/check", **sent)
    assert answer.status_code == status
    assert fact in answer.json()["error"]["fact"]
    assert client.get("/v1/check").status_code == 405


def test_a_check_of_a_picture_that_cannot_be_read_is_not_all_right(client) -> None:
    sent = {"files": files(png(), b"words"), "data": {"prescription": "K-000000,1\nK-000001,1"}}
    verdict = client.post("/v1/check", **sent).json()["verdict"]
    assert (verdict["all_right"], verdict["refused"]) == (False, ["1.png"])
    sent["files"] = files(b"words")
    assert client.post("/v1/check", **sent).status_code == 415


def test_a_pair_of_pictures_is_one_pill(client) -> None:
    one = png(frame((20, 30, 60, RED)))
    pill = client.post("/v1/pair?top=2", files=files(one, one)).json()["pill"]
    assert (pill["code"], len(pill["candidates"])) == ("K-000000", 2)
    for sent, status in (((one,), 400), ((one, png()), 422), ((one, b"words"), 415)):
        assert client.post("/v1/pair", files=files(*sent)).status_code == status


def test_drugs_are_searched_by_what_a_person_sees(client) -> None:
    answer = client.get("/v1/search", params={"imprint": "hm", "shape": "round", "colour": "하양"})
    tree = answer.json()
    assert tree["query"] == {"imprint": "HM", "shape": "원형", "colour": "하양"}
    assert (tree["version"], tree["checked"]) == ("2026-01-01", "2026-01-02")
    counts = {name: zone["count"] for name, zone in tree["zones"].items() if zone["count"]}
    assert counts == {"prefix": 1}
    assert tree["zones"]["prefix"]["drugs"][0]["code"] == "K-000000"
    assert 'requests_total{status="200"} 1' in client.get("/metrics").text


@pytest.mark.parametrize(
    ("query", "fact"),
    [
        ("", "no letter"),
        ("?imprint=-", "no letter"),
        ("?shape=rainbow", "no shape"),
        ("?imprint=A&most=0", "most"),
        ("?imprint=A&most=1001", "most"),
        ("?imprint=" + 101 * "A", "longer than 100"),
    ],
)
def test_a_search_without_a_known_word_is_refused(client, query, fact) -> None:
    answer = client.get(f"/v1/search{query}")
    assert answer.status_code == 400
    assert fact in answer.json()["error"]["fact"]


def test_the_page_offers_the_words_of_the_register_and_of_the_zones_in_both_languages() -> None:
    script = (PAGE_DIR / "search.js").read_text("utf-8")
    offered = dict(re.findall(r'([가-힣]+): "([a-z ]+)"', script.split("UNCERTAIN")[0]))
    assert offered == {
        word: others[0] for known in (words.SHAPES, words.COLOURS) for word, others in known.items()
    }
    for zone in ZONES:
        assert len(re.findall(rf"\b{zone}: \"", script)) == 2
    texts = script + (PAGE_DIR / "service.js").read_text("utf-8")
    shown = set(re.findall(r'data-word="(\w+)"', (PAGE_DIR / "index.html").read_text("utf-8")))
    for word in shown | set(re.findall(r'word\("(\w+)"\)', texts)):
        assert len(re.findall(rf"\b{word}: \"", texts)) >= 2, word


def test_with_a_key_set_only_health_description_and_page_stay_open(tmp_path) -> None:
    access = access_for(POLICY, "0.0.0.0", KEY, ())
    with services.client(services.app(tmp_path, access=access)) as guarded:
        for path in ("/v1/model", "/v1/search?imprint=HM", "/metrics"):
            assert guarded.get(path).status_code == 401
            assert guarded.get(path, headers={"x-api-key": KEY}).status_code == 200
        for path in ("/healthz", "/openapi.json", "/", *PAGE_ASSETS):
            assert guarded.get(path).status_code == 200


def test_the_model_is_described(client) -> None:
    model = client.get("/v1/model").json()
    assert model["classes"][0] == {
        "code": "K-000000", "drug_name": "가나정 0mg", "edi_codes": ["111", "222"],
    }  # fmt: skip
    assert model["refusal"] == {"score": "mahalanobis", "threshold": -0.04}
    assert model["known_recall"] == 0.95


def test_metrics_count_requests_pictures_and_pills(client) -> None:
    post(client)
    post(client, b"words")
    text = client.get("/metrics").text
    lines = [
        'requests_total{status="200"} 1',
        'requests_total{status="415"} 1',
        "pictures_total 1",
        "refused_pictures_total 1",
        "pills_total 2",
        "requests_in_flight 0",
        "request_seconds_count 2",
        'request_seconds_bucket{le="+Inf"} 2',
    ]
    assert {f"pillsnap_{line}" for line in lines} <= set(text.splitlines())


def test_a_failing_model_fails_its_requests_and_not_the_service(tmp_path) -> None:
    class Failing(Gate):
        def recognise(self, frames, top, codes=None):
            if not self.open.is_set():
                self.open.set()
                raise RuntimeError("broken")
            return super().recognise(frames, top, codes)

    with services.client(services.app(tmp_path, Failing())) as client:
        assert post(client).status_code == 500
        assert post(client).status_code == 200


async def status_of(app, stalls=False) -> int:
    """Of a request with one picture, of which only the first half arrives where it stalls."""

    async def half():
        yield png()[:100]
        await asyncio.Event().wait()

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await post(client, half() if stalls else None)
    assert answer.status_code != 429 or answer.headers["retry-after"] == "1"
    return answer.status_code


def test_more_requests_than_it_holds_are_answered_429(tmp_path) -> None:
    gate = Gate()
    app = services.app(tmp_path, gate, queue=2)

    async def scene() -> list[int]:
        async with app.router.lifespan_context(app):
            held = [asyncio.create_task(status_of(app)) for _ in range(2)]
            while not gate.batches:
                await asyncio.sleep(0.001)
            refused = await status_of(app)
            gate.open.set()
            return [refused, *await asyncio.gather(*held), await status_of(app)]

    assert asyncio.run(scene()) == [429, 200, 200, 200]


def test_an_upload_that_stalls_leaves_the_queue(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(requests, "UPLOAD_S", 0.5)
    app = services.app(tmp_path, queue=1)

    async def scene() -> list[int]:
        async with app.router.lifespan_context(app):
            return [await status_of(app, stalls=True), await status_of(app)]

    assert asyncio.run(scene()) == [408, 200]
