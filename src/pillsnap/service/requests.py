"""Reads a recognition request within its limits: pictures, candidates per pill, allowed codes."""

import asyncio
import re
from dataclasses import dataclass
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request

from pillsnap.dataset.names import is_code
from pillsnap.service import multipart

MOST_CODES = 10_000
UPLOAD_S = 60.0  # a client that stalls must not stay in the queue


@dataclass(frozen=True)
class Limits:
    """How much the service takes at once, and in a request."""

    batch_size: int  # pictures through the models together
    queue: int  # requests held at once; more are answered 429
    request_bytes: int
    pictures: int  # of a request
    candidates: int = 50  # of a pill


class Asked(NamedTuple):
    """Candidates per pill, and the allowed codes (None: all)."""

    top: int
    codes: tuple[str, ...] | None


async def read(request: Request, limits: Limits) -> tuple[list[tuple[str, bytes]], Asked]:
    """(name, bytes) of each picture, and the query; HTTPException 400, 408, 413 or 415."""
    query = Asked(_top(request, limits), _codes(request))
    try:
        async with asyncio.timeout(UPLOAD_S):
            content = await _body(request, limits.request_bytes)
    except TimeoutError:
        raise HTTPException(408, f"The request took over {UPLOAD_S:.0f} s to arrive.") from None
    content_type = request.headers.get("content-type", "")
    kind = content_type.split(";")[0].strip().lower()
    if kind == "multipart/form-data":
        try:
            pictures = list(multipart.files(content_type, content))
        except multipart.FormError as error:
            raise HTTPException(400, str(error)) from None
        if len(pictures) > limits.pictures:
            raise HTTPException(413, f"{len(pictures)} pictures; {limits.pictures} are allowed.")
    elif kind.startswith("image/") or kind == "application/octet-stream":
        pictures = [("image", content)]
    else:
        raise HTTPException(415, "Send multipart/form-data with pictures, or one as image/*.")
    if not pictures:
        raise HTTPException(400, "The request holds no picture.")
    return pictures, query


async def _body(request: Request, most_bytes: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most_bytes:
            raise HTTPException(413, f"The request is larger than {most_bytes:,} bytes.")
        parts.append(part)
    return b"".join(parts)


def _top(request: Request, limits: Limits) -> int:
    text = request.query_params.get("top", "5")
    if not (re.fullmatch("[0-9]{1,4}", text) and 1 <= int(text) <= limits.candidates):
        raise HTTPException(400, f"top is {text[:20]!r}, it may be 1 to {limits.candidates}.")
    return int(text)


def _codes(request: Request) -> tuple[str, ...] | None:
    text = request.query_params.get("codes")
    if text is None:
        return None
    codes = tuple(sorted({code.strip() for code in text.split(",")}))
    if len(codes) > MOST_CODES or not all(map(is_code, codes)):
        raise HTTPException(400, "codes is not a list of K-codes like K-000001,K-000002.")
    return codes
