"""A user's picture as upright 8-bit RGB; its size is checked before it is decoded."""

import io
import os
import struct
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin
from PIL import WebPImagePlugin as WebP

from pillsnap import files
from pillsnap.arrays import Pixels
from pillsnap.dataset import pillow, png, source
from pillsnap.errors import DataError, reason_of

Size = tuple[int, int]  # width, height

READERS: dict[str, Callable[[BinaryIO], Image.Image]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WEBP": WebP.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": pillow.Tiff,
    "GIF": GifImagePlugin.GifImageFile,
}
SIGNATURES = {
    png.SIGNATURE: "PNG", b"\xff\xd8\xff": "JPEG", b"BM": "BMP", b"GIF8": "GIF",
    b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF",
}  # fmt: skip
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif", ".avif"})
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")
NUMBER_MODES = ("I", "F")  # 32 bits of no agreed range
SHORTEST_SIDE_PX = 16  # of a photo that can hold a pill
LONGEST_TO_SHORTEST = 16  # a thinner strip is no photo: scaled to the detector it has no width
TILE_SIDES = (322, 323)  # TIFF tags: a tile is decoded whole, however small the picture is

LARGEST_BYTES = 80_000_000  # of a picture file
MEMORY_BYTES = 140_000_000  # that decoding a picture may take
KEPT_PIXELS = 16_000_000  # of a decoded JPEG; larger ones are scaled down while decoding
SCAN = 0xFFDA  # JPEG's marker "start of scan"
BLOCK, COEFFICIENT_BYTES = 8, 2  # of a JPEG
# Peak of decoding and of cropping a pill as large as the picture, held by test_memory.py
PIXEL_BYTES = {"PNG": 8, "plain PNG": 6, "JPEG": 8, "WEBP": 16, "BMP": 8, "TIFF": 8, "GIF": 8}


class PictureError(DataError):
    """A picture that is missing, damaged or refused; the other pictures are not affected."""


class PictureTooLargeError(PictureError):
    """More pixels or bytes than allowed: refused by its header, nothing was decoded."""


class PictureKindError(PictureError):
    """Not a picture, or one of a kind that is not read."""


@dataclass(frozen=True)
class Picture:
    """A decoded picture: uint8 RGB [h, w, 3], upright, and the size it has in its file."""

    pixels: Pixels
    size: Size  # more than the pixels' where a JPEG was scaled down

    @property
    def factors(self) -> tuple[float, float]:
        """How many times wider and higher the picture is in its file."""
        height, width = self.pixels.shape[:2]
        return self.size[0] / width, self.size[1] / height


def in_folder(folder: Path, suffixes: Collection[str] = SUFFIXES | HEIF_SUFFIXES) -> list[Path]:
    """What has such a name in a folder, those below and zip archives, sorted, without hidden ones;
    also HEIC pictures, pipes and broken links: reading them gives the reason and a cure."""
    try:
        below = [path for path in folder.rglob("*") if not path.is_dir()]
        archives = [path for path in below if path.suffix.lower() == source.ARCHIVE]
        below += [path for archive in archives for path in _members(archive, min(suffixes))]
    except OSError as error:
        fact = f"{folder} cannot be listed: {error.strerror}."
        raise DataError(fact, "Check the disk it is on.") from None
    # macOS writes a hidden ._photo.png next to each photo.png
    shown = (path for path in below if not path.name.startswith("."))
    return sorted(path for path in shown if path.suffix.lower() in suffixes)


def _members(archive: Path, suffix: str) -> list[Path]:
    """Its files; of a broken archive a path that cannot be read: reading it gives the reason."""
    try:
        return [archive / name for name in source.members(str(archive))]
    except OSError:
        return [archive / f"all{suffix}"]


def sizes(path: Path, max_pixels: int) -> tuple[Size, Size]:
    """Upright size of a picture in its file and of the pixels that `read` gives: no pixel is
    decoded. PictureError as `read`."""
    header = read(path, max_pixels, header_only=True)
    return header.size, header.pixels.shape[1::-1]


def read(path: Path, max_pixels: int, *, header_only: bool = False) -> Picture:
    """The picture of a file, `header_only` without values of its pixels; PictureError if it
    cannot be read."""
    if os.path.islink(path) and not os.path.exists(path):  # noqa: PTH110, PTH114  # never raise
        raise PictureError(f"{path}: a link to nothing.", "Copy the picture itself.")
    cure = "Check the name, and that you may read the file (chmod u+r)."
    if source.is_inside(path):
        try:
            content = io.BytesIO(source.read(path, LARGEST_BYTES))
            return _decode(content, str(path), max_pixels, header_only)
        except OSError as error:
            raise PictureError(f"{path}: {error.strerror}.", "Restore the archive.") from None
    with files.opened(path, cure, PictureError, files.LARGEST_MODEL_BYTES) as file:
        return _decode(file, str(path), max_pixels, header_only)


def decode(content: bytes, name: str, max_pixels: int) -> Picture:
    """The same of a picture's bytes; `name` is for the message."""
    return _decode(io.BytesIO(content), name, max_pixels, header_only=False)


def _decode(file: BinaryIO, name: str, max_pixels: int, header_only: bool) -> Picture:
    file_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(png.HEADER_BYTES)
    file.seek(0)
    kind = _kind(start, name)
    if file_bytes > LARGEST_BYTES:
        fact = f"{name}: {file_bytes:,} bytes, more than {LARGEST_BYTES:,}."
        raise PictureTooLargeError(fact, "Save the picture as JPEG, or shrink it.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's on odd EXIF: the pixels are what counts
            if kind == "PNG":
                _refuse_png(file_bytes, start, name, max_pixels)
                content = file.read()
                pixels = _blank(png.size(content)) if header_only else png.decode(content)
                return Picture(pixels, pixels.shape[1::-1])
            load = _unread if header_only else _upright
            with READERS[kind](file) as picture:
                if isinstance(picture, JpegImagePlugin.JpegImageFile):
                    size = _draft(file, picture, name, max_pixels)
                    return Picture(load(picture), size)
                _refuse_sides(picture, kind, name, max_pixels)
                pixels = load(picture)
                return Picture(pixels, pixels.shape[1::-1])
    except (PictureError, MemoryError):
        raise
    except Exception as error:  # a broken file fails in many ways: one refusal
        raise _damaged(name, reason_of(error)) from None


def _refuse_png(file_bytes: int, start: bytes, name: str, max_pixels: int) -> None:
    head = png.header(start)
    kind = "plain PNG" if head.plain else "PNG"
    most = min(max_pixels, (MEMORY_BYTES - file_bytes) // PIXEL_BYTES[kind])
    _refuse_size(head.width, head.height, head.width * head.height, most, max_pixels, name)


def _refuse_sides(picture: Image.Image, kind: str, name: str, max_pixels: int) -> None:
    (width, height), most = picture.size, min(max_pixels, MEMORY_BYTES // PIXEL_BYTES[kind])
    held = width * height
    if isinstance(picture, pillow.Tiff):
        tile_width, tile_height = (int(picture.tag_v2.get(tag, 0)) for tag in TILE_SIDES)
        held = max(held, tile_width * tile_height)
    _refuse_size(width, height, held, most, max_pixels, name)
    if picture.mode in NUMBER_MODES:
        fact = f"{name}: 32 bits a channel, of no agreed range."
        raise PictureKindError(fact, "Save it with 8 or 16 bits.")


def _draft(
    file: BinaryIO, picture: JpegImagePlugin.JpegImageFile, name: str, max_pixels: int
) -> Size:
    """Set the scale of a JPEG, 1, 1/2, 1/4 or 1/8: the largest that fits into memory. Returns the
    upright size in the file."""
    width, height = picture.size
    _refuse_size(width, height, width * height, max_pixels, max_pixels, name)
    buffered = buffered_bytes(file, picture)
    most = min(KEPT_PIXELS, (MEMORY_BYTES - buffered) / PIXEL_BYTES["JPEG"])
    factor = next((by for by in (1, 2, 4, 8) if width * height / by**2 <= most), None)
    if factor is None:
        cure = "Save it as baseline (not progressive) JPEG, or shrink it."
        raise PictureTooLargeError(f"{name}: {width} x {height} pixels, progressive.", cure)
    picture.draft(None, (width // factor, height // factor))
    return (height, width) if pillow.orientation(picture) > 4 else (width, height)


def _upright(picture: Image.Image) -> Pixels:
    pixels = pillow.rgb(picture)  # Pillow turns a TIFF while it loads it
    return pillow.upright(pixels, pillow.orientation(picture))


def _unread(picture: Image.Image) -> Pixels:
    return _blank(picture.size[::-1] if pillow.orientation(picture) > 4 else picture.size)


def _blank(size: Size) -> Pixels:
    """Pixels without values: they take no memory until they are written."""
    return np.empty((*size[::-1], 3), np.uint8)


def _kind(start: bytes, name: str) -> str:
    """The format that the first bytes show.

    Not Image.open: ultralytics 8.4 replaces it by one that wants to install a HEIF library
    whenever it meets a file that is no picture.
    """
    if not start:
        raise _damaged(name, "the file is empty")
    if start[4:8] == b"ftyp" and start[8:12] in HEIF_BRANDS:
        raise PictureKindError(
            f"{name}: a HEIC or AVIF picture, which is not read.",
            "Convert it to JPEG (heif-convert in.heic out.jpg, or export it from the photo app); "
            "an iPhone takes JPEG with Settings > Camera > Formats > Most Compatible.",
        )
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    for word, kind in SIGNATURES.items():
        if start.startswith(word):
            return kind
    fact = f"{name}: not a picture in one of the formats PNG, {', '.join(READERS)}."
    raise PictureKindError(fact, "Save it as PNG or JPEG.")


def _refuse_size(width: int, height: int, held: int, most: int, max_pixels: int, name: str) -> None:
    """`held`: pixels in memory while decoding, of which there may be `most`."""
    if held > most:
        cure = "Shrink the picture, or raise validate.max_pixels."
        if held <= max_pixels:
            cure = "Save it as JPEG, which is scaled down while decoding, or shrink it."
        fact = f"{name}: {width} x {height} pixels, the limit is {most:,} pixels."
        raise PictureTooLargeError(fact, cure)
    short, long = sorted((width, height))
    if short < SHORTEST_SIDE_PX or long > LONGEST_TO_SHORTEST * short:
        fact = f"{name}: {width} x {height} pixels, too thin for a photo of a pill."
        raise PictureKindError(fact, f"Give a photo of at least {SHORTEST_SIDE_PX} pixels a side.")


def _damaged(name: str, detail: str) -> PictureError:
    return PictureError(f"{name}: damaged: {detail}.", "Take or copy the picture again.")


def buffered_bytes(file: BinaryIO, picture: JpegImagePlugin.JpegImageFile) -> int:
    """Bytes of coefficients that libjpeg keeps of a JPEG that was just opened, 0 for a usual one: a
    progressive one, or one whose first scan lacks components, is kept whole. The position in the
    file stays."""
    here, count = file.tell(), picture.layers  # behind the header of the first scan
    whole_scan = struct.pack(">HHB", SCAN, 6 + 2 * count, count)
    file.seek(max(0, here - 8 - 2 * count))
    usual = file.read(len(whole_scan)) == whole_scan and "progressive" not in picture.info
    file.seek(here)
    if usual:
        return 0
    (width, height), factors = picture.size, [layer[1:3] for layer in picture.layer]
    across, down = (BLOCK * max(of_side) for of_side in zip(*factors, strict=True))
    samples = sum(h * v for h, v in factors) * -(-width // across) * -(-height // down) * BLOCK**2
    return int(samples) * COEFFICIENT_BYTES
