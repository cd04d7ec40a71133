"""Pictures of all formats: read as validate and evaluate read theirs, or refused."""

import io
import os
import struct
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image, TiffImagePlugin
from PIL.JpegImagePlugin import JpegImageFile

from make import odd_pictures
from make.damage import SEEDS, damaged_picture
from make.odd_pictures import AS_THEY_ARE, CONVERTED, DAMAGED_JPEGS, JPEGS, PIXELS, saved
from pillsnap.dataset import pictures
from pillsnap.dataset import pixels as stored
from pillsnap.errors import UserError
from pillsnap.recognition.recogniser import Pill
from pillsnap.validation import photos
from pillsnap.validation.photos import FrameError

LIMIT = 10**6


def decode(content: bytes) -> np.ndarray:
    return pictures.decode(content, "photo.png", LIMIT).pixels


READ_AS = {name: (content, PIXELS) for name, content in AS_THEY_ARE.items()} | CONVERTED


@pytest.mark.parametrize("name", READ_AS)
def test_validate_and_predict_read_a_png_alike(tmp_path, name: str) -> None:
    content, expected = READ_AS[name]
    (tmp_path / "a.png").write_bytes(content)
    found = photos.read_frame(tmp_path / "a.png", LIMIT)[0]
    for read in (pictures.read(tmp_path / "a.png", LIMIT).pixels, decode(content)):
        np.testing.assert_array_equal(found, read)
    assert (found.dtype, found.shape) == (np.uint8, expected.shape)
    most = 0 if name in AS_THEY_ARE else 1  # of blending
    assert np.abs(found.astype(int) - expected).max() <= most


@pytest.mark.parametrize("name", odd_pictures.DAMAGED)
def test_both_refuse_a_png_whose_pixels_are_damaged(name: str) -> None:
    with pytest.raises(FrameError) as refusal:
        photos.decode_png(odd_pictures.DAMAGED[name], LIMIT)
    assert refusal.value.reason == "photo_damaged"
    with pytest.raises(pictures.PictureError, match="damaged"):
        decode(odd_pictures.DAMAGED[name])


@settings(max_examples=300, deadline=5000)
@given(SEEDS)
def test_any_damage_is_read_alike_or_refused(chance) -> None:
    sound = [*AS_THEY_ARE.values(), *(jpeg for jpeg, _ in JPEGS.values())]
    content, found = damaged_picture(sound, chance), []
    with suppress(UserError):
        found.append(pictures.decode(content, Path("a"), LIMIT))
    with suppress(FrameError):
        found.append(photos.decode_png(content, LIMIT))
    if len(found) == 2:
        np.testing.assert_array_equal(found[0].pixels, found[1])


@pytest.mark.parametrize("name", JPEGS)
def test_predict_reads_a_jpeg_upright_and_validate_says_that_it_is_no_png(name: str) -> None:
    content, expected = JPEGS[name]
    found = decode(content)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 4
    if name in ("plain", "progressive", "comment", "grey"):  # as evaluate reads its frames
        np.testing.assert_array_equal(found, stored.decode(content))
    with pytest.raises(FrameError, match="a JPEG") as refusal:
        photos.decode_png(content, LIMIT)
    assert refusal.value.reason == "photo_not_png"


def halves(height: int = 40, width: int = 60) -> np.ndarray:
    """Red on the left, blue on the right."""
    pixels = np.full((height, width, 3), (200, 30, 30), np.uint8)
    pixels[:, width // 2 :] = (30, 30, 200)
    return pixels


OTHER = {
    "WEBP": saved(halves(), "WEBP", quality=95),
    "moving GIF": saved(halves(), "GIF", save_all=True, append_images=[Image.new("L", (60, 40))]),
    "BMP": saved(halves(), "BMP"),
    "TIFF": saved(halves(), "TIFF"),
    "16-bit TIFF": cv2.imencode(".tiff", halves()[..., ::-1].astype(np.uint16) * 257)[1].tobytes(),
}


@pytest.mark.parametrize("name", OTHER)
def test_a_picture_of_another_format_is_read_as_8_bit_rgb(name: str) -> None:
    read = decode(OTHER[name])
    assert (read.dtype, read.shape) == (np.uint8, (40, 60, 3))
    most = 0 if name in ("BMP", "TIFF", "16-bit TIFF") else 20
    assert np.abs(read.astype(int) - halves())[:, [5, -5]].max() <= most


def tiff_of_many_fractions() -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[282] = 300.0  # its resolution, which Pillow reads
    content = saved(halves(40, 40), "TIFF", tiffinfo=tags)
    entry = struct.pack("<HHI", 282, 5, 1)
    return content.replace(entry, entry[:4] + struct.pack("<I", 70_000)) + bytes(560_000)


def tiff_of_huge_tiles() -> bytes:
    tags = [
        (256, 64), (257, 64), (258, 8), (259, 8), (262, 1), (277, 1), (322, 60_000), (323, 60_000),
        (324, 8), (325, 10),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


DAMAGED, KIND, LARGE = (
    pictures.PictureError, pictures.PictureKindError, pictures.PictureTooLargeError,
)  # fmt: skip
REFUSED = {
    **{f"JPEG, {name}": (content, DAMAGED, "damaged") for name, content in DAMAGED_JPEGS.items()},
    "empty": (b"", DAMAGED, "empty"),
    "WebP cut short": (OTHER["WEBP"][:-30], DAMAGED, "damaged"),
    "BMP cut short": (OTHER["BMP"][:200], DAMAGED, "damaged"),
    "TIFF header alone": (b"II*\0\x08\0\0\0", DAMAGED, "damaged"),
    "text": (b"these are words", KIND, "not a picture"),
    "HEIC": (b"\0\0\0\x18ftypheic" + bytes(100), KIND, "heif-convert"),
    "over the limit": (odd_pictures.png(head=odd_pictures.ihdr(side=(2001, 1000))), LARGE, "2001"),
    "many fractions": (tiff_of_many_fractions(), DAMAGED, "560,0.. bytes of numbers in TIFF tags"),
    "huge tiles": (tiff_of_huge_tiles(), LARGE, "64 x 64"),
    "15 x 200": (saved(np.zeros((200, 15), np.uint8)), KIND, "too thin"),
    "20 x 321": (saved(np.zeros((321, 20), np.uint8)), KIND, "too thin"),
    "32 bits": (saved(np.zeros((40, 40), np.float32), "TIFF"), KIND, "32 bits"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused(monkeypatch, name: str) -> None:
    content, kind, words = REFUSED[name]
    monkeypatch.delattr(Image, "open")  # ultralytics replaces it by one that installs packages
    with pytest.raises(kind, match=words):
        decode(content)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_exif_is_not_read_where_it_is_larger_than_a_jpeg_can_hold(form: str) -> None:
    exif = odd_pictures.exif(6)
    for more, shape in ((0, (30, 20, 3)), (70_000, (20, 30, 3))):
        picture = saved(np.zeros((20, 30, 3), np.uint8), form, exif=exif + bytes(more))
        assert decode(picture).shape == shape


def test_pipes_and_links_to_nothing_are_refused(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("gone.png")
    for name, words in {"pipe.png": "not a regular file", "link.png": "a link to nothing"}.items():
        with pytest.raises(pictures.PictureError, match=words):
            pictures.read(tmp_path / name, LIMIT)


def saved_jpeg(side: int = 201, **options) -> bytes:
    pixels = np.full((side, side * 2, 3), 90, np.uint8)
    pixels[side // 2 :, side:] = 250
    return saved(pixels, "JPEG", **options)


def test_a_large_jpeg_is_scaled_down_while_decoding_and_boxes_are_those_of_the_file(
    monkeypatch,
) -> None:
    assert pictures.decode(saved_jpeg(), "a", LIMIT).factors == (1, 1)
    monkeypatch.setattr(pictures, "KEPT_PIXELS", 10_000)
    for turned, size in ((b"", (402, 201)), (odd_pictures.exif(6), (201, 402))):
        picture = pictures.decode(saved_jpeg(exif=turned), "a", LIMIT)
        assert picture.size == size
        assert picture.pixels.shape[1::-1] == tuple(-(-side // 4) for side in size)
        height, width = picture.pixels.shape[:2]
        pill = Pill((0, 0, width, height), False, None, None, (), 0.5, 0.5, (), (), 0.0, 0.0)
        assert pill.scaled(*picture.factors).box == (0, 0, *size)
        assert picture.pixels[height - 5, 5 if turned else width - 5].min() > 240


def test_what_does_not_fit_into_memory_is_cured_by_saving_it_as_jpeg(monkeypatch) -> None:
    monkeypatch.setattr(pictures, "MEMORY_BYTES", 50_000)
    monkeypatch.setattr(pictures, "KEPT_PIXELS", 10_000)
    picture = halves(120, 180)
    for form in ("PNG", "WEBP", "TIFF", "BMP", "GIF"):
        with pytest.raises(pictures.PictureTooLargeError, match="180 x 120 pixels") as refusal:
            pictures.decode(saved(picture, form), "a", LIMIT)
        assert refusal.value.cure.startswith("Save it as JPEG")
    with pytest.raises(pictures.PictureTooLargeError, match="progressive") as refusal:
        pictures.decode(saved(picture, "JPEG", progressive=True), "a", LIMIT)
    assert refusal.value.cure.startswith("Save it as baseline")
    assert pictures.decode(saved(picture, "JPEG"), "a", LIMIT).size == (180, 120)


@pytest.mark.parametrize(
    ("options", "samples"),
    [
        ({}, 0),
        ({"progressive": True, "subsampling": 0}, 3 * 208 * 104),
        ({"progressive": True, "subsampling": 2}, 208 * 112 * 3 // 2),
    ],
)
def test_the_header_tells_how_much_a_jpeg_buffers(options, samples: int) -> None:
    content = bytearray(saved_jpeg(101, **options))
    for expected in (samples, samples or 208 * 112 * 3 // 2):
        file = io.BytesIO(content)
        with JpegImageFile(file) as picture:
            here = file.tell()
            assert pictures.buffered_bytes(file, picture) == 2 * expected
            assert file.tell() == here
        content[content.index(b"\xff\xda") + 4] = 1  # of a scan that starts with one component
