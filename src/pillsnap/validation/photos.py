"""Reads photos: header checked before decoding, every kind of damage reported by name."""

import io
import os
import struct
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import kornia_rs
import numpy as np
import xxhash
from PIL import Image

from pillsnap import files
from pillsnap.arrays import Pixels
from pillsnap.errors import DataError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
RGB, RGBA, GREY_ALPHA = 2, 6, 4  # colour types of the PNG specification, section 11.2.1
HEAVIEST_PIXEL_BYTES = 8  # 16-bit RGBA; with 1 MB for headers no photo is longer on disk


class FrameError(DataError):
    """A photo that is rejected; `reason` is the name of a check."""

    def __init__(self, reason: str, fact: str, cure: str) -> None:
        super().__init__(fact, cure)
        self.reason = reason

    def __reduce__(self) -> tuple[type["FrameError"], tuple[str, str, str]]:
        return FrameError, (self.reason, self.fact, self.cure)


@dataclass(frozen=True)
class Frame:
    """A decoded photo: uint8 RGB [height, width, 3] and the xxh3-128 of the file's bytes."""

    pixels: Pixels
    content_hash: str

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return int(self.pixels.shape[0])


def read_frame(path: Path, max_pixels: int) -> Frame:
    """Read, check, hash and decode a PNG photo; FrameError says what is wrong with it."""
    content = _read(path, max_pixels)
    pixels = decode_png(content, path, max_pixels)
    return Frame(pixels, content_hash(content))


def content_hash(content: bytes) -> str:
    """xxh3-128 of a file's bytes, hex."""
    return xxhash.xxh3_128_hexdigest(content)


def locate(path: Path) -> Path:
    """The path as spelt on disk, where Korean may be in NFD instead of NFC, or the reverse.

    A path that does not exist or cannot be accessed is returned unchanged.
    """
    if os.path.exists(path) or path == path.parent:  # noqa: PTH110
        return path
    folder = locate(path.parent)
    forms = (folder / unicodedata.normalize(form, path.name) for form in ("NFC", "NFD"))
    return next(filter(os.path.exists, forms), folder / path.name)


def decode_png(content: bytes, name: Path, max_pixels: int) -> Pixels:
    """uint8 RGB [h, w, 3] of a PNG whose header is within `max_pixels`; `name` for messages."""
    width, height, depth, colour = _header(content, name)
    if width * height > max_pixels:
        raise FrameError(
            "photo_too_large",
            f"{name}: {width} x {height} pixels, more than validate.max_pixels ({max_pixels}).",
            "Shrink or remove the photo, or raise validate.max_pixels.",
        )
    if not content.endswith(PNG_END):
        raise _damaged(
            name, "the file does not end with the end of a PNG (truncated, or data appended)"
        )
    if depth == 16:
        raise _wrong_kind(name, "16 bits a channel")
    try:
        if depth == 8 and colour == RGB:
            decoded = kornia_rs.io.decode_image_png_u8(content, (height, width), "rgb")
            return np.asarray(decoded)
        return _decode_odd_png(content, name, colour)
    except FrameError:
        raise
    except Exception as error:  # kornia_rs 0.2 raises plain Exception; PIL OSError, SyntaxError
        raise _damaged(name, str(error)) from None


def _read(path: Path, max_pixels: int) -> bytes:
    try:
        with files.open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > max_pixels * HEAVIEST_PIXEL_BYTES + 2**20:
                raise FrameError(
                    "photo_too_large",
                    f"{path}: {size:,} bytes, more than validate.max_pixels can fill.",
                    "Remove the file, or raise validate.max_pixels.",
                )
            return file.read(size)
    except FileNotFoundError:
        raise FrameError(
            "photo_missing",
            f"{path}: missing.",
            "Restore the photo, or run `pillsnap fingerprint` and `dvc repro` without it.",
        ) from None
    except OSError as error:
        raise FrameError(
            "photo_unreadable",
            f"{path}: cannot be read ({error.strerror}).",
            "Make the file readable; if it is, check the disk.",
        ) from None


def _header(content: bytes, name: Path) -> tuple[int, int, int, int]:
    """Width, height, bit depth and colour type from the first 33 bytes."""
    if not content:
        raise _damaged(name, "the file is empty")
    if not content.startswith(PNG_SIGNATURE):
        kind = "a JPEG" if content.startswith(b"\xff\xd8") else f"starts with {content[:8]!r}"
        raise FrameError(
            "photo_not_png", f"{name}: not a PNG ({kind}).", "Replace it by the original PNG."
        )
    if len(content) < 33 or content[12:16] != b"IHDR":
        raise _damaged(name, "the header is truncated")
    width, height, depth, colour = struct.unpack(">IIBB", content[16:26])
    return width, height, depth, colour


def _decode_odd_png(content: bytes, name: Path, colour: int) -> Pixels:
    """Grey and palette photos become RGB; transparent ones are rejected."""
    picture = Image.open(io.BytesIO(content), formats=("PNG",))
    has_alpha = colour in (RGBA, GREY_ALPHA) or "transparency" in picture.info
    if has_alpha and np.asarray(picture.convert("RGBA"))[..., 3].min() < 255:
        raise _wrong_kind(name, "transparent pixels")
    return np.asarray(picture.convert("RGB"))


def _damaged(name: Path, detail: str) -> FrameError:
    return FrameError(
        "photo_damaged",
        f"{name}: {detail}.",
        "Restore the photo from the AI Hub archive; if there are many, check the disk.",
    )


def _wrong_kind(name: Path, detail: str) -> FrameError:
    return FrameError(
        "photo_kind",
        f"{name}: {detail}, photos are 8-bit RGB.",
        "Save the photo as 8-bit RGB PNG.",
    )
