"""The JSON bodies of the service's answers and their description for programs: OpenAPI 3.1."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter
from starlette.responses import Response

from pillsnap.dataset.pictures import PictureKindError, PictureTooLargeError
from pillsnap.errors import UserError
from pillsnap.prediction.prescription import Report
from pillsnap.recognition.recogniser import Pill
from pillsnap.register.search import Query
from pillsnap.register.store import Drug
from pillsnap.service.requests import Limits


@dataclass(frozen=True)
class Error:
    """What is wrong, and what to do about it."""

    fact: str
    cure: str


@dataclass(frozen=True)
class Problem:
    """The body of every answer that is an error as a whole."""

    error: Error


@dataclass(frozen=True)
class Recognised:
    """A picture and its pills; boxes are in pixels of the upright picture of this size."""

    name: str
    width: int
    height: int
    pills: list[Pill]


@dataclass(frozen=True)
class Refused:
    """A picture that could not be read."""

    name: str
    pills: list[Pill]  # always empty
    error: Error


@dataclass(frozen=True)
class ResponseBody:
    """The pictures of a request, in the order sent."""

    images: list[Recognised | Refused]


@dataclass(frozen=True)
class Paired:
    """The pill that two pictures show, one of each side; its box is that of the first."""

    pill: Pill


@dataclass(frozen=True)
class Checked:
    """The verdict on a prescription; boxes are in pixels of `images`."""

    verdict: Report
    images: list[Recognised | Refused]


@dataclass(frozen=True)
class Zone:
    """How many drugs are in a zone, and the first of them."""

    meaning: str
    count: int
    drugs: list[Drug]


@dataclass(frozen=True)
class Searched:
    """Drugs that do not contradict the query, by zone, the best zone first."""

    query: Query
    version: str  # dates of the register, ISO
    checked: str
    zones: dict[str, Zone]


def json(tree: Any, status: int = 200, **headers: str) -> Response:
    content = orjson.dumps(tree)
    return Response(content, status, headers=headers, media_type="application/json")


def problem(status: int, fact: str, cure: str = "", **headers: str) -> Response:
    """An error: `{"error": {"fact", "cure"}}`."""
    return json(Problem(Error(fact, cure)), status, **headers)


BODIES: tuple[Any, ...] = (ResponseBody, Paired, Checked, Searched, Problem)


def status_of(error: UserError) -> int:
    """413 too large, 415 not a supported picture format, 422 damaged."""
    if isinstance(error, PictureTooLargeError):
        return 413
    return 415 if isinstance(error, PictureKindError) else 422


def describe(limits: Limits) -> dict[str, Any]:
    """The description of the service, with the limits in force; schemas are those of the bodies."""
    text = (Path(__file__).parent / "openapi.json").read_bytes()
    tree: dict[str, Any] = orjson.loads(text)
    tree["info"]["version"] = version("pillsnap")
    _, schemas = TypeAdapter.json_schemas(
        [(body.__name__, "serialization", TypeAdapter(body)) for body in BODIES],
        ref_template="#/components/schemas/{model}",
    )
    tree["components"]["schemas"] = schemas["$defs"]
    recognise = tree["paths"]["/v1/recognise"]["post"]
    recognise["parameters"][0]["schema"]["maximum"] = limits.candidates
    check, pair = (tree["paths"][f"/v1/{name}"]["post"] for name in ("check", "pair"))
    pair["parameters"], pair["requestBody"] = recognise["parameters"], recognise["requestBody"]
    for route in (check, pair):
        route["responses"] = {**recognise["responses"], "200": route["responses"]["200"]}
    pictures = f"up to {limits.pictures} pictures"
    recognise["summary"] = f"Name the pills in {pictures}"
    check["summary"] = f"Compare the pills in {pictures} with a prescription"
    for route in (recognise, check):
        route["requestBody"]["description"] = f"At most {limits.request_bytes:,} bytes."
    return tree
