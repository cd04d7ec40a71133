"""Pillow's pictures as upright 8-bit RGB: on white where they are transparent, turned by EXIF."""

import warnings

import numpy as np
from PIL import Image, TiffImagePlugin

from pillsnap.arrays import Pixels

BAND_ROWS = 256  # rows converted at a time: the memory of a conversion does not grow with a picture
DEEP_MODE = "I;16"  # grey of 16 bits, also with a letter for the byte order
ORIENTATION = 0x0112  # EXIF tag; 1 is upright
EXIF_BYTES = 65_536  # the most that a JPEG can hold; other formats set no limit
TAG_BYTES = 500_000  # of a TIFF's numbers: 60,000 fractions take 0.3 s
BYTE_TYPES = (1, 2, 6, 7)  # TIFF types that are read as one value: profiles, texts


class Tiff(TiffImagePlugin.TiffImageFile):
    """A TIFF with tags of bounded size: of every number in them Pillow makes an object."""

    def _setup(self) -> None:
        tags = self.tag_v2
        sizes = {tag: len(data) for tag, data in tags._tagdata.items()}
        numbers = sum(size for tag, size in sizes.items() if tags.tagtype[tag] not in BYTE_TYPES)
        if numbers > TAG_BYTES:
            raise ValueError(f"{numbers:,} bytes of numbers in TIFF tags, more than {TAG_BYTES:,}")
        super()._setup()


def rgb(picture: Image.Image) -> Pixels:
    """uint8 RGB [height, width, 3], not turned; 16 bits keep their upper 8."""
    width, height = picture.size
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, BAND_ROWS):
        bottom = min(top + BAND_ROWS, height)
        band = picture.crop((0, top, width, bottom))
        band.info = picture.info
        pixels[top:bottom] = np.asarray(_on_white(band))
    return pixels


def orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 if there is none or the metadata cannot be read."""
    if len(picture.info.get("exif", b"")) > EXIF_BYTES:
        return 1
    try:
        with warnings.catch_warnings(action="ignore"):
            value = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow raises many kinds for broken metadata, which is no reason to refuse
        return 1
    return value if value in range(1, 9) else 1


def upright(pixels: Pixels, turned: int) -> Pixels:
    """The picture upright, given its EXIF orientation (EXIF 2.3, section 4.6.4)."""
    if turned in (2, 3, 7, 8):
        pixels = pixels[:, ::-1]
    if turned in (3, 4, 6, 7):
        pixels = pixels[::-1]
    if turned in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    return np.ascontiguousarray(pixels)


def _on_white(band: Image.Image) -> Image.Image:
    if band.mode.startswith(DEEP_MODE):
        band = Image.fromarray((np.asarray(band).astype(np.uint16) >> 8).astype(np.uint8))
    if "A" in band.mode or "a" in band.mode or "transparency" in band.info:
        seen = band.convert("RGBA")
        band = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    return band.convert("RGB")
