"""What the service says: JSON bodies, and which status a picture's fault has."""

from dataclasses import asdict
from typing import Any

import orjson
from starlette.responses import Response

from pillsnap.errors import UserError
from pillsnap.prediction.pictures import PictureKindError, PictureTooLargeError
from pillsnap.recognition.recogniser import Pill

Json = dict[str, Any]


def json(tree: Any, status: int = 200, **headers: str) -> Response:
    """A JSON response."""
    content = orjson.dumps(tree)
    return Response(content, status, headers=headers, media_type="application/json")


def problem(status: int, fact: str, cure: str = "", **headers: str) -> Response:
    """An error: `{"error": {"fact", "cure"}}`."""
    return json({"error": {"fact": fact, "cure": cure}}, status, **headers)


def recognised(name: str, width: int, height: int, pills: list[Pill]) -> Json:
    """An answered picture; boxes are in pixels of the upright picture of that size."""
    found = [asdict(pill) for pill in pills]
    return {"name": name, "width": width, "height": height, "pills": found}


def refused(name: str, error: UserError) -> Json:
    """A picture that could not be read."""
    return {"name": name, "pills": [], "error": {"fact": error.fact, "cure": error.cure}}


def status_of(error: UserError) -> int:
    """413 too large, 415 of a kind that is not read, 422 damaged, 400 for the rest."""
    if isinstance(error, PictureTooLargeError):
        return 413
    if isinstance(error, PictureKindError):
        return 415
    return 422
