"""Reads photos: header checked before decoding, every kind of damage reported by name."""

from dataclasses import dataclass
from pathlib import Path

import xxhash

from pillsnap.arrays import Pixels
from pillsnap.dataset import png, source
from pillsnap.dataset.png import PngError
from pillsnap.errors import DataError

HEAVIEST_PIXEL_BYTES = 8  # 16-bit RGBA; with 1 MB for headers no photo is longer on disk


class FrameError(DataError):
    """A photo that is rejected; `reason` is the name of a check."""

    def __init__(self, reason: str, fact: str, cure: str) -> None:
        super().__init__(fact, cure)
        self.reason = reason

    def __reduce__(self) -> tuple[type["FrameError"], tuple[str, str, str]]:
        return FrameError, (self.reason, self.fact, self.cure)


@dataclass(frozen=True)
class DecodedPhoto:
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


def read_frame(path: Path, max_pixels: int) -> DecodedPhoto:
    """Read, check, hash and decode a PNG photo; FrameError says what is wrong with it."""
    content = _read(path, max_pixels)
    pixels = decode_png(content, path, max_pixels)
    return DecodedPhoto(pixels, content_hash(content))


def content_hash(content: bytes) -> str:
    """xxh3-128 of a file's bytes, hex."""
    return xxhash.xxh3_128_hexdigest(content)


def decode_png(content: bytes, name: Path, max_pixels: int) -> Pixels:
    """uint8 RGB [h, w, 3] of a PNG whose header is within `max_pixels`; `name` for messages."""
    _refuse_foreign(content, name)
    try:
        width, height = png.header(content)[:2]
        if width * height > max_pixels:
            raise FrameError(
                "photo_too_large",
                f"{name}: {width} x {height} pixels, more than validate.max_pixels ({max_pixels}).",
                "Shrink or remove the photo, or raise validate.max_pixels.",
            )
        return png.decode(content)
    except PngError as error:
        raise _damaged(name, str(error)) from None


def _read(path: Path, max_pixels: int) -> bytes:
    try:
        return source.read(path, max_pixels * HEAVIEST_PIXEL_BYTES + 2**20)
    except source.TooLargeError as error:
        raise FrameError(
            "photo_too_large",
            f"{path}: {error.strerror}, more than validate.max_pixels can fill.",
            "Remove the file, or raise validate.max_pixels.",
        ) from None
    except FileNotFoundError:
        cure = "Restore the photo, or run `pillsnap fingerprint` and `dvc repro` without it."
        raise FrameError("photo_missing", f"{path}: missing.", cure) from None
    except OSError as error:
        cure = "Make the file readable; if it is, check the disk, or restore the archive."
        fact = f"{path}: cannot be read ({error.strerror})."
        raise FrameError("photo_unreadable", fact, cure) from None


def _refuse_foreign(content: bytes, name: Path) -> None:
    if not content:
        raise _damaged(name, "the file is empty")
    if not content.startswith(png.SIGNATURE):
        kind = "a JPEG" if content.startswith(b"\xff\xd8") else f"starts with {content[:8]!r}"
        raise FrameError(
            "photo_not_png", f"{name}: not a PNG ({kind}).", "Replace it by the original PNG."
        )


def _damaged(name: Path, detail: str) -> FrameError:
    return FrameError(
        "photo_damaged",
        f"{name}: {detail}.",
        "Restore the photo from the AI Hub archive; if there are many, check the disk.",
    )
