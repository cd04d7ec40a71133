"""The service's description for programs: OpenAPI 3.1 at /openapi.json."""

from importlib.metadata import version
from typing import Any

from pillsnap.service.requests import Limits

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
NUMBER: Json = {"type": "number"}
ERROR = {"type": "object", "properties": {"fact": TEXT, "cure": TEXT}}
CANDIDATE = {
    "type": "object",
    "properties": {"code": TEXT, "drug_name": TEXT, "probability": NUMBER},
}
PILL = {
    "type": "object",
    "properties": {
        "box": {
            "description": "x, y, width, height in pixels of the upright picture",
            "type": "array",
            "items": {"type": "integer"},
            "minItems": 4,
            "maxItems": 4,
        },
        "known": {"description": "false: like no pill that was learnt", "type": "boolean"},
        "code": {"type": ["string", "null"]},
        "drug_name": {"type": ["string", "null"]},
        "edi_codes": {"type": "array", "items": TEXT},
        "confidence": NUMBER,
        "box_confidence": NUMBER,
        "candidates": {"type": "array", "items": CANDIDATE},
    },
}
PICTURE = {
    "type": "object",
    "required": ["name", "pills"],
    "properties": {
        "name": TEXT,
        "width": {"type": "integer"},
        "height": {"type": "integer"},
        "pills": {"type": "array", "items": {"$ref": "#/components/schemas/Pill"}},
        "error": {"$ref": "#/components/schemas/Error"},
    },
}
PROBLEMS = {
    "400": "a parameter or the form cannot be read",
    "401": "no key, or another one",
    "408": "took too long to arrive",
    "413": "too many bytes, pixels or pictures",
    "415": "not a picture of a kind that is read",
    "422": "a damaged picture",
    "429": "busy: ask again after Retry-After seconds",
}


def describe(limits: Limits) -> Json:
    """The description, with the limits in force."""
    picture = {"schema": {"type": "string", "contentEncoding": "binary"}}
    form = {"schema": {"type": "object", "properties": {"image": {"type": "array", "items": TEXT}}}}
    answer = {
        "type": "object",
        "properties": {
            "images": {"type": "array", "items": {"$ref": "#/components/schemas/Picture"}}
        },
    }
    recognise = {
        "summary": f"Name the pills in up to {limits.pictures} pictures",
        "parameters": [
            _query("top", {"type": "integer", "minimum": 1, "maximum": limits.top, "default": 5}),
            _query("codes", {**TEXT, "description": "only these K-codes, with commas between"}),
        ],
        "requestBody": {
            "required": True,
            "description": f"At most {limits.request_bytes} bytes.",
            "content": {"multipart/form-data": form, "image/*": picture},
        },
        "responses": {
            "200": _json("pills of every picture, in order", answer),
            **{status: _json(text, {"type": "object"}) for status, text in PROBLEMS.items()},
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "PillSnap", "version": version("pillsnap")},
        "paths": {
            "/v1/recognise": {"post": recognise},
            "/v1/model": _get("What answers: models, thresholds, classes"),
            "/healthz": _get("200 while the service runs"),
            "/metrics": _get("Figures for Prometheus"),
        },
        "components": {"schemas": {"Pill": PILL, "Picture": PICTURE, "Error": ERROR}},
    }


def _query(name: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "schema": schema}


def _json(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _get(summary: str) -> Json:
    return {"get": {"summary": summary, "responses": {"200": {"description": summary}}}}
