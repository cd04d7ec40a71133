"""The description of the service: it is that of the answers."""

import pytest
from pydantic import TypeAdapter

from make import services
from make.drawn_models import RED, frame
from make.services import LIMITS, files, png, post
from pillsnap.service.bodies import Checked, Paired, Problem, ResponseBody, Searched

SIDES = [png(frame((20, 30, 60, RED)))] * 2
LISTED = {"prescription": "K-000000,1"}


@pytest.fixture
def client(tmp_path):
    with services.client(services.app(tmp_path)) as client:
        yield client


def references(tree: object) -> set[str]:
    if isinstance(tree, dict):
        own = {str(tree.get("$ref", "")).removeprefix("#/components/schemas/")}
        return own.union(*map(references, tree.values())) - {""}
    return set().union(*map(references, tree)) if isinstance(tree, list) else set()


def test_every_route_is_described_with_the_limits_in_force(client) -> None:
    described = client.get("/openapi.json").json()
    assert described["openapi"] == "3.1.0"
    assert set(described["paths"]) == {
        "/v1/recognise", "/v1/pair", "/v1/check", "/v1/search", "/v1/model", "/healthz", "/metrics",
    }  # fmt: skip
    assert references(described) <= set(described["components"]["schemas"])
    assert "Recognised" in described["components"]["schemas"]
    recognise = described["paths"]["/v1/recognise"]["post"]
    check = described["paths"]["/v1/check"]["post"]
    assert "429" in recognise["responses"].keys() & check["responses"].keys()
    assert recognise["parameters"][0]["schema"]["maximum"] == LIMITS.candidates
    for route in (recognise, check):
        assert f"{LIMITS.request_bytes:,} bytes" in route["requestBody"]["description"]


def test_answers_are_as_described(client) -> None:
    two = client.post("/v1/recognise", files=files(png(), b"words"))
    for body, answer in (
        (ResponseBody, two),
        (ResponseBody, post(client, b"words")),
        (Checked, client.post("/v1/check", files=files(png(), b"words"), data=LISTED)),
        (Paired, client.post("/v1/pair", files=files(*SIDES))),
        (Searched, client.get("/v1/search?imprint=HM")),
        (Problem, client.get("/v1/search")),
        (Problem, post(client, query="?top=x")),
        (Problem, client.get("/nothing")),
        (Problem, client.get("/v1/model", headers={"host": "evil.example"})),
    ):
        adapter = TypeAdapter(body)
        read = adapter.validate_json(answer.content, extra="forbid")
        assert adapter.dump_python(read, mode="json") == answer.json()
