"""The files of a multipart/form-data body, as real clients send them.

python-multipart keeps to RFC 7578 and ignores `filename*=`, which urllib3 1.x sends for Korean
names, so that such a file counts as a text field. The body is in memory and limited in size.
"""

import re
from collections.abc import Iterator
from urllib.parse import unquote

LARGEST_HEAD_BYTES = 4096  # of one part; a file name of 255 bytes takes 765 percent-encoded
MOST_PARTS = 100
NEWLINE = b"\r\n"
PARAMETER = re.compile(r';\s*([\w-]+\*?)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^";]*))', re.ASCII)


class FormError(Exception):
    """The body is not the form that its content type announces."""


def files(content_type: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each file of a form; FormError where the form is malformed.

    A file is a part with a file name, with a picture's content type, or in the field "image".
    Other fields are skipped, and the empty file that browsers send where none was chosen.
    """
    for head, body in _parts(content_type, content):
        field = parameters(head.get("content-disposition", ""))
        extended = field.get("filename*", "").split("'", 2)  # UTF-8'language'percent-encoded
        name = unquote(extended[2]) if len(extended) == 3 else field.get("filename")
        kind = head.get("content-type", "").lower()
        binary = kind.startswith(("image/", "application/octet-stream"))
        if (name is not None or binary or field.get("name") == "image") and (name or body):
            yield name or "image", body


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
        yield _headers(content[head_at:head_end]), content[head_end + 2 * len(NEWLINE) : end]
        at = end + len(NEWLINE)
    raise FormError(f"The form has more than {MOST_PARTS} parts.")


def _headers(head: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in head.decode("utf-8", "replace").split("\r\n"))
    return {name.strip().lower(): value.strip() for name, _, value in lines}
