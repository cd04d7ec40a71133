"""The JSON bodies of the service's answers and their description for programs: OpenAPI 3.1."""

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import orjson
from pydantic import TypeAdapter
from starlette.responses import Response

from pillsnap.dataset.pictures import PictureKindError, PictureTooLargeError
from pillsnap.errors import UserError
from pillsnap.recognition.recogniser import Pill
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


def json(tree: Any, status: int = 200, **headers: str) -> Response:
    content = orjson.dumps(tree)
    return Response(content, status, headers=headers, media_type="application/json")


def problem(status: int, fact: str, cure: str = "", **headers: str) -> Response:
    """An error: `{"error": {"fact", "cure"}}`."""
    return json(Problem(Error(fact, cure)), status, **headers)


def status_of(error: UserError) -> int:
    """413 too large, 415 not a supported picture format, 422 damaged."""
    if isinstance(error, PictureTooLargeError):
        return 413
    return 415 if isinstance(error, PictureKindError) else 422


Json = dict[str, Any]

PROBLEMS = {
    "400": "a parameter or the form cannot be read",
    "401": "no key, or a wrong one",
    "408": "the request took too long to arrive",
    "413": "too many bytes, pixels or pictures",
    "415": "not a supported picture format",
    "422": "a damaged picture",
    "429": "busy: try again after Retry-After seconds",
}


def describe(limits: Limits) -> Json:
    """The description, with the limits in force."""
    _, schemas = TypeAdapter.json_schemas(
        [(body.__name__, "serialization", TypeAdapter(body)) for body in (ResponseBody, Problem)],
        ref_template="#/components/schemas/{model}",
    )
    files = {"type": "array", "items": {"type": "string", "format": "binary"}}
    form = {"type": "object", "required": ["image"], "properties": {"image": files}}
    top = {"type": "integer", "minimum": 1, "maximum": limits.candidates, "default": 5}
    codes = {"type": "string", "description": "only these K-codes, separated by commas"}
    recognise = {
        "summary": f"Name the pills in up to {limits.pictures} pictures",
        "parameters": [
            {"name": "top", "in": "query", "schema": top},
            {"name": "codes", "in": "query", "schema": codes},
        ],
        "requestBody": {
            "required": True,
            "description": f"At most {limits.request_bytes:,} bytes.",
            "content": {
                "multipart/form-data": {"schema": form},
                "image/*": {"schema": {"type": "string", "contentEncoding": "binary"}},
            },
        },
        "responses": {
            "200": _body("the pills of every picture, in the order sent", "ResponseBody"),
            **{status: _body(text, "Problem") for status, text in PROBLEMS.items()},
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "PillSnap", "version": version("pillsnap")},
        "paths": {
            "/v1/recognise": {"post": recognise},
            "/v1/model": _get("Models in use, thresholds, classes"),
            "/healthz": _get("200 while the service runs"),
            "/metrics": _get("Counters for Prometheus"),
        },
        "components": {"schemas": schemas["$defs"]},
    }


def _body(description: str, schema: str) -> Json:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}


def _get(summary: str) -> Json:
    return {"get": {"summary": summary, "responses": {"200": {"description": summary}}}}
