"""Reads a request within its limits: pictures, candidates per pill, allowed codes, a prescription.

The form is parsed here: python-multipart keeps to RFC 7578 and ignores `filename*=`, which urllib3
1.x sends for Korean names, so that such a file counts as a text field.
"""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.requests import Request

from pillsnap.dataset.names import is_code

MOST_CODES = 10_000
LIST_FIELD = "prescription"  # of a form: no picture, text or a file
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


class Sent(NamedTuple):
    """(name, bytes) of each picture, the query, and the prescription of a form."""

    pictures: list[tuple[str, bytes]]
    query: Asked
    prescription: str | None


async def read(request: Request, limits: Limits) -> Sent:
    """The pictures of a request; HTTPException 400, 408, 413 or 415."""
    query = Asked(number(request, "top", 5, limits.candidates), _codes(request))
    try:
        async with asyncio.timeout(UPLOAD_S):
            content = await _body(request, limits.request_bytes)
    except TimeoutError:
        raise HTTPException(408, f"The request took over {UPLOAD_S:.0f} s to arrive.") from None
    content_type = request.headers.get("content-type", "")
    kind = content_type.split(";")[0].strip().lower()
    listed = None
    if kind == "multipart/form-data":
        try:
            pictures = list(files(content_type, content))
            listed = text_field(content_type, content, LIST_FIELD)
        except FormError as error:
            raise HTTPException(400, str(error)) from None
        if len(pictures) > limits.pictures:
            raise HTTPException(413, f"{len(pictures)} pictures; {limits.pictures} are allowed.")
    elif kind.startswith("image/") or kind == "application/octet-stream":
        pictures = [("image", content)]
    else:
        raise HTTPException(415, "Send multipart/form-data with pictures, or one as image/*.")
    if not pictures:
        raise HTTPException(400, "The request holds no picture.")
    return Sent(pictures, query, listed)


async def _body(request: Request, most_bytes: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most_bytes:
            raise HTTPException(413, f"The request is larger than {most_bytes:,} bytes.")
        parts.append(part)
    return b"".join(parts)


def number(request: Request, name: str, default: int, most: int) -> int:
    """A number of the query, 1 to `most`; HTTPException 400 for anything else."""
    text = request.query_params.get(name, str(default))
    if not (re.fullmatch("[0-9]{1,4}", text) and 1 <= int(text) <= most):
        raise HTTPException(400, f"{name} is {text[:20]!r}, it may be 1 to {most}.")
    return int(text)


def _codes(request: Request) -> tuple[str, ...] | None:
    text = request.query_params.get("codes")
    if text is None:
        return None
    codes = tuple(sorted({code.strip() for code in text.split(",")}))
    if len(codes) > MOST_CODES or not all(map(is_code, codes)):
        raise HTTPException(400, "codes is not a list of K-codes like K-000001,K-000002.")
    return codes


LARGEST_HEAD_BYTES = 4096  # of one part; a file name of 255 bytes takes 765 percent-encoded
MOST_PARTS = 100
NEWLINE = b"\r\n"
PARAMETER = re.compile(r';\s*([\w-]+\*?)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^";]*))', re.ASCII)


class FormError(Exception):
    """The body is not the form that its content type announces."""


def files(content_type: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each file of a form; FormError where the form is malformed.

    A file is a part with a file name, with a picture's content type, or in the field "image".
    Other fields and the prescription are skipped, and the empty file that browsers send where none
    was chosen.
    """
    for head, body in _parts(content_type, content):
        field = parameters(head.get("content-disposition", ""))
        if field.get("name") == LIST_FIELD:
            continue
        extended = field.get("filename*", "").split("'", 2)  # UTF-8'language'percent-encoded
        name = unquote(extended[2]) if len(extended) == 3 else field.get("filename")
        kind = head.get("content-type", "").lower()
        binary = kind.startswith(("image/", "application/octet-stream"))
        if (name is not None or binary or field.get("name") == "image") and (name or body):
            yield name or "image", body


def text_field(content_type: str, content: bytes, name: str) -> str | None:
    """The first field of this name as text; None if the form has none."""
    for head, body in _parts(content_type, content):
        if parameters(head.get("content-disposition", "")).get("name") == name:
            return body.decode("utf-8-sig", "replace")
    return None


def parameters(value: str) -> dict[str, str]:
    """The parameters of a header's value, names in lower case; the first of a name counts."""
    found: dict[str, str] = {}
    for name, quoted, plain in PARAMETER.findall(value):
        found.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) or plain.strip())
    return found


def _parts(content_type: str, content: bytes) -> Iterator[tuple[dict[str, str], bytes]]:
    """Head and body of each part (RFC 2046)."""
    boundary = parameters(content_type).get("boundary")
    if not boundary:
        raise FormError("The content type names no boundary.")
    opening = b"--" + boundary.encode("latin-1")
    at = (NEWLINE + content).find(NEWLINE + opening)
    if at < 0:
        raise FormError("The form does not hold the boundary of its content type.")
    for _ in range(MOST_PARTS + 1):
        at += len(opening)
        if content.startswith(b"--", at):
            return
        head_at = content.find(NEWLINE, at, at + LARGEST_HEAD_BYTES)
        head_end = content.find(2 * NEWLINE, head_at, head_at + LARGEST_HEAD_BYTES)
        end = content.find(NEWLINE + opening, head_end + len(NEWLINE))
        if min(head_at, head_end, end) < 0 or content[at:head_at].strip(b" \t"):
            raise FormError("A part of the form is malformed or cut short.")
        head = content[head_at:head_end].decode("utf-8", "replace").split("\r\n")
        headers = (line.partition(":") for line in head)
        named = {name.strip().lower(): value.strip() for name, _, value in headers}
        yield named, content[head_end + 2 * len(NEWLINE) : end]
        at = end + len(NEWLINE)
    raise FormError(f"The form has more than {MOST_PARTS} parts.")
