"""PNG files as pixels, in one way for validate, predict and the service.

Only the chunks that hold pixels, transparency and orientation are used: a broken colour profile or
text is no reason to refuse a photo. Names of chunks are those of the PNG specification, section 11.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import kornia_rs
import numpy as np
from PIL import PngImagePlugin

from pillsnap.arrays import Pixels
from pillsnap.dataset import pillow
from pillsnap.errors import reason_of

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER_BYTES = 33
UNPACKED_BYTES = 1 << 23  # at a time, to count them
END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
RGB, PALETTE = 2, 3  # colour types
CHANNELS = {0: 1, RGB: 3, PALETTE: 1, 4: 2, 6: 4}
ADAM7 = (  # first row and column, steps down and across, of the passes of an interlaced picture
    (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
    (1, 0, 2, 1),
)  # fmt: skip
ORIENTATION = (b"Raw profile type exif", b"XML:com.adobe.xmp")  # texts that may hold it
ONE_PIXEL = b"\0\0\0\x01\0\0\0\x01\x08\0\0\0\0"  # IHDR of 1 x 1 grey


class PngError(Exception):
    """A PNG whose pixels are damaged; says how."""


class Header(NamedTuple):
    """The first chunk."""

    width: int
    height: int
    depth: int  # bits a channel
    colour: int
    interlace: int

    @property
    def plain(self) -> bool:
        """8-bit RGB, as all photos of AI Hub are."""
        return (self.depth, self.colour) == (8, RGB)

    @property
    def data_bytes(self) -> int:
        """Length of the unpacked pixels: a filter byte and whole bytes of each row."""
        bits = self.depth * CHANNELS[self.colour]
        passes = ADAM7 if self.interlace else ((0, 0, 1, 1),)
        sizes = [
            (-(-(self.height - top) // down), -(-(self.width - left) // across))
            for top, left, down, across in passes
        ]
        return sum(rows * (1 + -(-columns * bits // 8)) for rows, columns in sizes if columns > 0)


class Chunk(NamedTuple):
    """A chunk and where it is in the file, with length and checksum."""

    kind: bytes
    start: int
    stop: int


def header(content: bytes) -> Header:
    """The header, from the first HEADER_BYTES of a file."""
    if len(content) < HEADER_BYTES or content[12:16] != b"IHDR":
        raise PngError("the header is cut short")
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", content[16:29])
    if not width or not height:
        raise PngError("it has no pixels")
    if colour not in CHANNELS:
        raise PngError(f"there is no colour type {colour}")
    return Header(width, height, depth, colour, interlace)


def size(content: bytes) -> tuple[int, int]:
    """Upright width and height; no pixel is decoded."""
    width, height = header(content)[:2]
    return (height, width) if _orientation(content, list(_chunks(content))) > 4 else (width, height)


def decode(content: bytes) -> Pixels:
    """Upright uint8 RGB [height, width, 3], on white where the picture is transparent.

    16 bits keep their upper 8 (a colour key of 16 bits is ignored). Judge `header` before: a file
    of some KB can hold 400 million pixels.
    """
    head = header(content)
    if not content.endswith(END):
        raise PngError("the file does not end where a PNG ends (cut short or added to)")
    chunks = list(_chunks(content))
    turned = _orientation(content, chunks)
    keyed = head.depth < 16 and any(
        chunk.kind == b"tRNS" and _sound(content, chunk) for chunk in chunks
    )
    kept = [chunk for chunk in chunks if _critical(chunk) or (keyed and chunk.kind == b"tRNS")]
    if len(kept) < len(chunks):
        content = SIGNATURE + b"".join(content[chunk.start : chunk.stop] for chunk in kept)
    try:
        if head.plain and not keyed:
            size = (head.height, head.width)
            pixels = np.asarray(kornia_rs.io.decode_image_png_u8(content, size, "rgb"))
        else:
            pixels = _by_pillow(content, head)
    except (PngError, MemoryError):
        raise
    except Exception as error:  # kornia_rs 0.2 raises plain Exception; Pillow OSError, SyntaxError
        raise PngError(reason_of(error)) from None
    return pixels if turned == 1 else pillow.upright(pixels, turned)


def _chunks(content: bytes) -> Iterator[Chunk]:
    at = len(SIGNATURE)
    while at < len(content):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        stop = at + 12 + length
        if stop > len(content):
            raise PngError("a chunk is cut short")
        yield Chunk(kind, at, stop)
        at = stop


def _critical(chunk: Chunk) -> bool:
    return not chunk.kind[0] & 0x20


def _sound(content: bytes, chunk: Chunk) -> bool:
    body = memoryview(content)[chunk.start + 4 : chunk.stop - 4]
    return zlib.crc32(body) == int.from_bytes(content[chunk.stop - 4 : chunk.stop], "big")


def _by_pillow(content: bytes, head: Header) -> Pixels:
    """Pillow looks neither at checksums nor for missing rows or palettes."""
    chunks = list(_chunks(content))
    if not all(_sound(content, chunk) for chunk in chunks):
        raise PngError("a checksum does not match")
    if head.colour == PALETTE and not any(chunk.kind == b"PLTE" for chunk in chunks):
        raise PngError("it has no palette")
    left, unpacker = head.data_bytes, zlib.decompressobj()
    for chunk in chunks:
        if chunk.kind == b"IDAT":
            packed = content[chunk.start + 8 : chunk.stop - 4]
            while packed and left > 0:
                left -= len(unpacker.decompress(packed, UNPACKED_BYTES))
                packed = unpacker.unconsumed_tail
    if left > 0:
        raise PngError("rows of pixels are missing")
    with PngImagePlugin.PngImageFile(io.BytesIO(content)) as picture:
        return pillow.rgb(picture)


def _orientation(content: bytes, chunks: list[Chunk]) -> int:
    """The EXIF orientation, read from a picture of one pixel with the same metadata."""
    texts = (b"tEXt", b"zTXt", b"iTXt")
    kept = [
        content[chunk.start : chunk.stop]
        for chunk in chunks
        if chunk.kind == b"eXIf"
        or (chunk.kind in texts and content.startswith(ORIENTATION, chunk.start + 8))
        if _sound(content, chunk)
    ]
    if not kept:
        return 1
    pixel = _chunk(b"IHDR", ONE_PIXEL), *kept, _chunk(b"IDAT", zlib.compress(b"\0\0")), END
    try:
        with PngImagePlugin.PngImageFile(io.BytesIO(SIGNATURE + b"".join(pixel))) as picture:
            return pillow.orientation(picture)
    except Exception:  # Pillow refuses the metadata
        return 1


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
