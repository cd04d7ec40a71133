"""A recognition request read within its limits: its pictures, and what is asked of them."""

import asyncio
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.types import Message

from pillsnap.dataset.names import CODE

MOST_CODES = 10_000
UPLOAD_S = 60.0  # a client that stalls must not keep its place in the queue


@dataclass(frozen=True)
class Limits:
    """What a request may ask for."""

    request_bytes: int
    pictures: int  # of a request
    top: int


@dataclass(frozen=True)
class Asked:
    """A request: (name, bytes) of each picture, candidates a pill, the codes allowed."""

    pictures: list[tuple[str, bytes]]
    top: int
    codes: tuple[str, ...] | None


async def read(request: Request, limits: Limits) -> Asked:
    """Read a request; HTTPException 400, 408, 413 or 415 says what is wrong with it."""
    top, codes = _top(request, limits), _codes(request)
    try:
        async with asyncio.timeout(UPLOAD_S):
            content = await _body(request, limits.request_bytes)
    except TimeoutError:
        raise HTTPException(408, f"The request took over {UPLOAD_S:.0f} s to arrive.") from None
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == "multipart/form-data":
        pictures = await _form(request, content, limits)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        pictures = [("image", content)]
    else:
        raise HTTPException(
            415, "Send multipart/form-data with pictures, or one picture as image/*."
        )
    if not pictures:
        raise HTTPException(400, "The request holds no picture.")
    return Asked(pictures, top, codes)


async def _body(request: Request, most_bytes: int) -> bytes:
    told = request.headers.get("content-length", "0")
    if told.isdigit() and int(told) > most_bytes:
        raise HTTPException(413, f"The request is larger than {most_bytes:,} bytes.")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most_bytes:
            raise HTTPException(413, f"The request is larger than {most_bytes:,} bytes.")
        parts.append(part)
    return b"".join(parts)


async def _form(request: Request, content: bytes, limits: Limits) -> list[tuple[str, bytes]]:
    async def replay() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    try:
        again = Request(request.scope, replay)
        async with again.form(max_files=limits.pictures, max_fields=0) as form:
            files = [item for _, item in form.multi_items() if isinstance(item, UploadFile)]
            return [(file.filename or "image", await file.read()) for file in files]
    except (MultiPartException, HTTPException) as error:
        detail = error.detail if isinstance(error, HTTPException) else error.message
        raise HTTPException(413 if "files" in detail else 400, detail) from None


def _top(request: Request, limits: Limits) -> int:
    text = request.query_params.get("top", "5")
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= limits.top):
        raise HTTPException(400, f"top is {text[:20]!r}, it may be 1 to {limits.top}.")
    return int(text)


def _codes(request: Request) -> tuple[str, ...] | None:
    text = request.query_params.get("codes")
    if text is None:
        return None
    codes = tuple(sorted({code.strip() for code in text.split(",")}))
    if len(codes) > MOST_CODES or not all(CODE.fullmatch(code) for code in codes):
        raise HTTPException(400, "codes is not a list of K-codes like K-000001,K-000002.")
    return codes
