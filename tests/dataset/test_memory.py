"""No picture costs more than 200 MB: each format at the largest size that is read, and hostile
files."""

import io
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from make import odd_pictures
from make.import_graph import ROOT
from pillsnap.dataset import pictures
from pillsnap.dataset.pictures import LARGEST_BYTES, MEMORY_BYTES, PIXEL_BYTES

pytestmark = pytest.mark.slow

MAX_PIXELS = 50_000_000
MOST_MB = 200
NOISE = np.random.default_rng(0).integers(0, 190, (64, 64, 4)).astype(np.uint8)  # no pill


def side_of(pixel_bytes: float) -> int:
    """Side of a square that just fits with so many bytes a pixel."""
    return int((MEMORY_BYTES / pixel_bytes) ** 0.5 * 0.99)


def square(side: int, mode: str = "RGB") -> Image.Image:
    """Noise repeated: files of it are small."""
    tile = Image.fromarray(NOISE).convert(mode)
    picture = Image.new(mode, (side, side))
    for top in range(0, side, 64):
        for left in range(0, side, 64):
            picture.paste(tile, (left, top))
    return picture


def png(*kind: object) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(odd_pictures.zeros(*kind))


def of(side: int, mode: str = "RGB", **options) -> Callable[[Path], object]:
    return lambda path: square(side, mode).save(path, **options)


def heavy_jpeg(path: Path) -> None:
    """A small picture with a thousand comments of 64 KB."""
    buffer = io.BytesIO()
    square(640).save(buffer, "JPEG")
    comment = b"\xff\xfe" + struct.pack(">H", 65_535) + bytes(65_533)
    comments = comment * ((LARGEST_BYTES - 10**6) // len(comment))
    path.write_bytes(buffer.getvalue()[:2] + comments + buffer.getvalue()[2:])


def sparse(path: Path) -> None:
    path.write_bytes(odd_pictures.SIGNATURE)
    os.truncate(path, 1 << 33)


SIDES = {form: side_of(pixel_bytes) for form, pixel_bytes in PIXEL_BYTES.items()}
READ = {
    "plain.png": png(SIDES["plain PNG"], 8, 2, 3),
    "alpha.png": png(SIDES["PNG"], 8, 6, 4),
    "deep.png": png(SIDES["PNG"], 16, 2, 3),
    "heavy.png": png(2500, 8, 6, 4, b"a\0" + bytes(LARGEST_BYTES - 10**6)),
    "large.jpg": of(7000),
    "unscaled.jpg": of(3990),
    "progressive.jpg": of(4500, progressive=True, subsampling=0),
    "CMYK.jpg": of(3990, "CMYK"),
    "comments.jpg": heavy_jpeg,
    "lossy.webp": of(SIDES["WEBP"], method=0),
    "lossless.webp": of(SIDES["WEBP"], "RGBA", lossless=True, method=0),
    "plain.bmp": of(SIDES["BMP"] // 2),
    "packed.tif": of(SIDES["TIFF"], compression="tiff_lzw"),
    "one strip.tif": of(
        SIDES["TIFF"], "RGBA", compression="tiff_adobe_deflate", tiffinfo={278: 10**5}
    ),
    "palette.gif": of(SIDES["GIF"], "P"),
}
REFUSED = {
    "bomb.png": png(20_000, 8, 0, 1),
    "too large.png": png(SIDES["plain PNG"] * 102 // 100, 8, 2, 3),
    "bomb.jpg": lambda p: Image.new("RGB", (7000, 7000)).save(p, progressive=True, subsampling=0),
    "too large.webp": of(SIDES["WEBP"] * 102 // 100, method=0),
    "truncated to 8 GB.png": sparse,
}


@pytest.fixture(scope="module")
def grown_mb(tmp_path_factory) -> dict[str, float]:
    """By name: how much memory a picture took at the most."""
    folder = tmp_path_factory.mktemp("memory")
    for name, make in (READ | REFUSED).items():
        make(folder / name)
    for number in range(2):
        square(700 + number).save(folder / f"0 warm {number}.png")
    program = [sys.executable, ROOT / "tests/make/drawn_predict.py", str(MAX_PIXELS), folder]
    done = subprocess.run(program, capture_output=True, text=True, timeout=280)
    read = {Path(tree["path"]).name for tree in json.loads(done.stdout) if "error" not in tree}
    refused = set(READ | REFUSED) - read
    assert refused == set(REFUSED)
    return {Path(p).name: mb for p, mb in json.loads(done.stderr.splitlines()[-1]).items()}


@pytest.mark.parametrize("name", READ | REFUSED)
def test_a_picture_costs_less_than_200_mb_and_next_to_nothing_where_refused(grown_mb, name) -> None:
    assert grown_mb[name] < (MOST_MB if name in READ else 20)


def test_a_batch_and_the_next_picture_fit_together() -> None:
    """What is held while the next picture is decoded."""
    assert 3 * pictures.KEPT_PIXELS + MEMORY_BYTES < MOST_MB * 10**6
