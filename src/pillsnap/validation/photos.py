"""Reads photos: header checked before decoding, every kind of damage reported by name."""

from pathlib import Path

import xxhash

from pillsnap.arrays import Pixels
from pillsnap.dataset import pictures, png, source
from pillsnap.dataset.pictures import PictureError, PictureTooLargeError
from pillsnap.dataset.png import PngError

HEAVIEST_PIXEL_BYTES = 8  # 16-bit RGBA; with 1 MB for headers no photo is longer on disk


class FrameError(Exception):
    """A photo that is rejected; `reason` is the name of a check, which has the cure."""

    def __init__(self, reason: str, fact: str) -> None:
        super().__init__(fact)
        self.reason, self.fact = reason, fact


def read_frame(path: Path, max_pixels: int, *, any_kind: bool = False) -> tuple[Pixels, str]:
    """A photo, a PNG unless it may be of `any_kind`: uint8 RGB [height, width, 3], and the hash of
    the file's bytes. FrameError says what is wrong with it."""
    content = _read(path, max_pixels)
    decode = _decode_any if any_kind else decode_png
    return decode(content, max_pixels), content_hash(content)


def decode_png(content: bytes, max_pixels: int) -> Pixels:
    """uint8 RGB [h, w, 3] of a PNG whose header is within `max_pixels`; or FrameError."""
    if not content:
        raise FrameError("photo_damaged", "the file is empty.")
    if not content.startswith(png.SIGNATURE):
        kind = "a JPEG" if content.startswith(b"\xff\xd8") else f"starts with {content[:8]!r}"
        raise FrameError("photo_not_png", f"not a PNG ({kind}).")
    try:
        width, height = png.header(content)[:2]
        if width * height > max_pixels:
            limit = f"more than validate.max_pixels ({max_pixels})"
            raise FrameError("photo_too_large", f"{width} x {height} pixels, {limit}.")
        return png.decode(content)
    except PngError as error:
        raise FrameError("photo_damaged", f"{error}.") from None


def _decode_any(content: bytes, max_pixels: int) -> Pixels:
    """The same of a picture of any kind that `pillsnap predict` reads, PNG as above."""
    if content.startswith(png.SIGNATURE):
        return decode_png(content, max_pixels)
    try:
        return pictures.decode(content, "it is", max_pixels).pixels
    except PictureError as error:
        of_size = isinstance(error, PictureTooLargeError)
        reason = "photo_too_large" if of_size else "photo_damaged"
        raise FrameError(reason, error.fact.removeprefix("it is: ")) from None


def content_hash(content: bytes) -> str:
    """xxh3-128 of a file's bytes, hex."""
    return xxhash.xxh3_128_hexdigest(content)


def _read(path: Path, max_pixels: int) -> bytes:
    try:
        return source.read(path, max_pixels * HEAVIEST_PIXEL_BYTES + 2**20)
    except source.TooLargeError as error:
        fact = f"{error.strerror}, more than validate.max_pixels can fill."
        raise FrameError("photo_too_large", fact) from None
    except FileNotFoundError:
        raise FrameError("photo_missing", "missing.") from None
    except OSError as error:
        raise FrameError("photo_unreadable", f"cannot be read ({error.strerror}).") from None
