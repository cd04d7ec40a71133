"""A user's picture, whatever its format, as upright 8-bit RGB; its header is judged before a pixel
is decoded."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import kornia_rs
import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from pillsnap.arrays import Pixels
from pillsnap.errors import DataError

READERS: dict[str, Callable[[BinaryIO], Image.Image]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "GIF": GifImagePlugin.GifImageFile,
}
SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"GIF8", "GIF"),
)
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif", ".avif"})
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")
DEEP_MODE = "I;16"  # grey of 16 bits, also with a letter for the byte order
NUMBER_MODES = ("I", "F")  # 32 bits of no agreed range
SHORTEST_SIDE_PX = 16  # of a photo that can hold a pill
LONGEST_TO_SHORTEST = 16  # a thinner strip is no photo: scaled to the detector it has no width
PLAIN_PNG_KIND = b"\x08\x02"  # 8 bits a channel, RGB
PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
EXIF_IN_PNG = (b"eXIf", b"Raw profile type")


class PictureError(DataError):
    """A picture that cannot be used; the others go on."""


class PictureTooLargeError(PictureError):
    """More pixels than allowed: refused by its header, nothing was decoded."""


class PictureKindError(PictureError):
    """Not a picture, or one of a kind that is not read."""


class PictureDamagedError(PictureError):
    """A picture that is empty, cut short or broken."""


class PictureMissingError(PictureError):
    """Not there, or not readable."""


def read(path: Path, max_pixels: int) -> Pixels:
    """uint8 RGB [height, width, 3] of a picture file; PictureError says why not."""
    if not path.is_file():  # also of a pipe, which would never end
        if path.is_symlink() and not path.exists():
            raise PictureMissingError(f"{path}: a link to nothing.", "Copy the picture itself.")
        what = "not a file" if path.exists() else "not here"
        raise PictureMissingError(f"{path}: {what}.", "Check the name.")
    try:
        with path.open("rb") as file:
            return _decode(file, str(path), max_pixels)
    except PermissionError:
        raise PictureMissingError(
            f"{path}: may not be read.", "Give yourself the right: chmod u+r"
        ) from None


def decode(content: bytes, name: str, max_pixels: int) -> Pixels:
    """The same of a picture's bytes; `name` is for the message."""
    return _decode(io.BytesIO(content), name, max_pixels)


def _decode(file: BinaryIO, name: str, max_pixels: int) -> Pixels:
    start = file.read(16)
    _refuse_by_start(start, name)
    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's on odd EXIF: the pixels are what counts
            with _reader(start, name)(file) as picture:
                _refuse_by_header(picture, name, max_pixels)
                plain = _plain_png(file, picture)
                return _upright_rgb(picture) if plain is None else plain
    except (PictureError, MemoryError):
        raise
    except Exception as error:  # a broken file fails in many ways: all mean the same
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise _damaged(name, reason) from None


def _reader(start: bytes, name: str) -> Callable[[BinaryIO], Image.Image]:
    """Pillow's reader of the format the first bytes show.

    Not Image.open: ultralytics 8.4 replaces it by one that wants to install a HEIF library
    whenever it meets a file that is no picture.
    """
    kind = "WEBP" if start[:4] == b"RIFF" and start[8:12] == b"WEBP" else ""
    kind = kind or next((kind for word, kind in SIGNATURES if start.startswith(word)), "")
    if not kind:
        raise PictureKindError(
            f"{name}: not a picture in one of the formats {', '.join(READERS)}.",
            "Save it as PNG or JPEG.",
        )
    return READERS[kind]


def _refuse_by_start(start: bytes, name: str) -> None:
    if not start:
        raise _damaged(name, "the file is empty")
    if start[4:8] == b"ftyp" and start[8:12] in HEIF_BRANDS:
        raise PictureKindError(
            f"{name}: a HEIC or AVIF picture, which is not read.",
            "Convert it to JPEG (heif-convert in.heic out.jpg, or export it from the photo app); "
            "an iPhone takes JPEG with Settings > Camera > Formats > Most Compatible.",
        )


def _refuse_by_header(picture: Image.Image, name: str, max_pixels: int) -> None:
    width, height = picture.size
    if width * height > max_pixels:
        raise _too_large(name, f"{width} x {height} pixels", max_pixels)
    short, long = sorted((width, height))
    if short < SHORTEST_SIDE_PX or long > LONGEST_TO_SHORTEST * short:
        raise PictureKindError(
            f"{name}: {width} x {height} pixels, too thin for a photo of a pill.",
            f"Give a photo of at least {SHORTEST_SIDE_PX} pixels a side.",
        )
    if picture.mode in NUMBER_MODES:
        raise PictureKindError(
            f"{name}: 32 bits a channel, of no agreed range.", "Save it with 8 or 16 bits."
        )


def _plain_png(file: BinaryIO, picture: Image.Image) -> Pixels | None:
    """An 8-bit RGB PNG as AI Hub's are, by the decoder that is three times as fast as Pillow.

    None where it is another PNG, or a broken one: Pillow then says what is wrong with it.
    """
    if picture.format != "PNG" or picture.mode != "RGB" or "transparency" in picture.info:
        return None
    file.seek(0)
    content = file.read()
    if content[24:26] != PLAIN_PNG_KIND or not content.endswith(PNG_END):
        return None
    if any(word in content for word in EXIF_IN_PNG):
        return None
    try:
        shape = (picture.height, picture.width)
        return np.asarray(kornia_rs.io.decode_image_png_u8(content, shape, "rgb"))
    except Exception:  # kornia_rs 0.2 raises plain Exception
        return None


def _upright_rgb(picture: Image.Image) -> Pixels:
    """The first picture of the file, turned by its EXIF, on white where it is see-through."""
    turned = ImageOps.exif_transpose(picture)
    if turned.mode.startswith(DEEP_MODE):
        turned = Image.fromarray((np.asarray(turned).astype(np.uint16) >> 8).astype(np.uint8))
    if "A" in turned.mode or "a" in turned.mode or "transparency" in turned.info:
        seen = turned.convert("RGBA")
        turned = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    return np.asarray(turned.convert("RGB"), dtype=np.uint8)


def _too_large(name: str, detail: str, max_pixels: int) -> PictureTooLargeError:
    return PictureTooLargeError(
        f"{name}: {detail}, the limit is {max_pixels:,} pixels.",
        "Shrink the picture, or raise validate.max_pixels.",
    )


def _damaged(name: str, detail: str) -> PictureDamagedError:
    return PictureDamagedError(f"{name}: damaged: {detail}.", "Take or copy the picture again.")
