import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from make import odd_pictures
from pillsnap.dataset import pixels as crops
from pillsnap.prediction import jpeg, pictures
from pillsnap.recognition.recogniser import Pill

LIMIT = 10**6
LOSSLESS = ("PNG", "BMP", "TIFF")


def halves(height: int = 40, width: int = 60) -> np.ndarray:
    """Red on the left, blue on the right."""
    pixels = np.full((height, width, 3), (200, 30, 30), np.uint8)
    pixels[:, width // 2 :] = (30, 30, 200)
    return pixels


def saved(picture: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that says it is huge."""
    head = odd_pictures.ihdr(side=(width, height))
    return odd_pictures.png(
        head=head, image=odd_pictures.chunk(b"IDAT", zlib.compress(bytes(1000)))
    )


def decode(content: bytes, name: str, max_pixels: int) -> np.ndarray:
    return pictures.decode(content, name, max_pixels).pixels


def test_a_jpeg_is_read_as_the_crop_and_frame_stores_read_theirs() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 48, 3)).astype(np.uint8)
    jpeg = crops.encode(noise, 95)
    assert np.array_equal(decode(jpeg, "a", LIMIT), crops.decode(jpeg))


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, 3), (8, 1)])
def test_exif_turns_a_picture_upright(form: str, orientation: int, turns: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(Image.fromarray(halves()), form, exif=exif)
    read = decode(content, "a", LIMIT).astype(int)
    assert np.abs(read - np.rot90(halves(), turns)).mean() < 4


GREY = halves()[..., 0]
DEEP = GREY.astype(np.uint16) * 256 + 77
DEEP_COLOUR = cv2.imencode(".png", halves()[..., ::-1].astype(np.uint16) * 256 + 77)[1].tobytes()
DEEP_TIFF = cv2.imencode(".tiff", halves()[..., ::-1].astype(np.uint16) * 256 + 77)[1].tobytes()
CLEAR = np.dstack([halves(), np.full((40, 60), 255, np.uint8)])
CLEAR[:20, :, 3] = 0
WHITE_ABOVE = np.concatenate([np.full((20, 60, 3), 255, np.uint8), halves()[20:]])
PALETTE = Image.fromarray(halves()).convert("P", palette=Image.Palette.ADAPTIVE, colors=2)
WHITE_LEFT = np.concatenate([np.full((40, 30, 3), 255, np.uint8), halves()[:, 30:]], axis=1)
THREE_EQUAL = np.repeat(GREY[..., None], 3, axis=2)
READ = {
    **{f"{form}": (saved(Image.fromarray(halves()), form), halves(), 0) for form in LOSSLESS},
    "WEBP": (saved(Image.fromarray(halves()), "WEBP", quality=95), halves(), 20),
    "JPEG": (saved(Image.fromarray(halves()), "JPEG"), halves(), 20),
    "GIF": (saved(Image.fromarray(halves()), "GIF"), halves(), 20),
    "CMYK": (saved(Image.fromarray(halves()).convert("CMYK"), "JPEG", quality=95), halves(), 20),
    "transparent parts are white": (saved(Image.fromarray(CLEAR), "PNG"), WHITE_ABOVE, 0),
    "a transparent colour is white": (
        saved(PALETTE, "PNG", transparency=int(np.asarray(PALETTE)[0, 0])), WHITE_LEFT, 0,
    ),
    "grey": (saved(Image.fromarray(GREY), "PNG"), THREE_EQUAL, 0),
    "16-bit grey PNG": (saved(Image.fromarray(DEEP), "PNG"), THREE_EQUAL, 0),
    "16-bit grey TIFF": (saved(Image.fromarray(DEEP), "TIFF"), THREE_EQUAL, 0),
    "16-bit colour PNG": (DEEP_COLOUR, halves(), 0),
    "16-bit colour TIFF": (DEEP_TIFF, halves(), 0),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_a_picture_is_read_as_8_bit_rgb(tmp_path, name: str) -> None:
    content, expected, tolerance = READ[name]
    path = tmp_path / "알약 사진.png"
    path.write_bytes(content)
    for read in (pictures.read(path, LIMIT).pixels, decode(content, "a", LIMIT)):
        assert (read.dtype, read.shape) == (np.uint8, expected.shape)
        assert np.abs(read.astype(int) - expected)[:, [5, -5]].max() <= tolerance


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]


def tiff_of_huge_tiles() -> bytes:
    tags = [
        (256, 64), (257, 64), (258, 8), (259, 8), (262, 1), (277, 1), (322, 60_000), (323, 60_000),
        (324, 8), (325, 10),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


NOISE = np.random.default_rng(0).integers(0, 255, (64, 48, 3)).astype(np.uint8)
HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(100)
DAMAGED, KIND, LARGE = (
    pictures.PictureDamagedError, pictures.PictureKindError, pictures.PictureTooLargeError,
)  # fmt: skip
REFUSED = {
    "empty": (b"", DAMAGED, "empty"),
    "PNG cut short": (saved(Image.fromarray(halves()), "PNG")[:-40], DAMAGED, "damaged"),
    "JPEG cut short": (saved(Image.fromarray(halves()), "JPEG")[:-200], DAMAGED, "damaged"),
    "WebP cut short": (saved(Image.fromarray(halves()), "WEBP")[:-30], DAMAGED, "damaged"),
    "BMP cut short": (saved(Image.fromarray(halves()), "BMP")[:200], DAMAGED, "damaged"),
    "PNG of zeros": (b"\x89PNG\r\n\x1a\n" + bytes(60), DAMAGED, "damaged"),
    "flipped bit": (flipped(saved(Image.fromarray(NOISE), "PNG")), DAMAGED, r"photo\.png"),
    "text": (b"these are words", KIND, "not a picture"),
    "HEIC": (HEIC, KIND, "heif-convert"),
    "over the limit": (bomb(2001, 1000), LARGE, "2001 x 1000"),
    "huge tiles": (tiff_of_huge_tiles(), LARGE, "64 x 64"),
    "15 x 200": (saved(Image.new("RGB", (15, 200)), "PNG"), KIND, "too thin"),
    "20 x 321": (saved(Image.new("RGB", (20, 321)), "PNG"), KIND, "too thin"),
    "32 bits": (saved(Image.new("F", (40, 40)), "TIFF"), KIND, "32 bits"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused(monkeypatch, name: str) -> None:
    content, kind, words = REFUSED[name]
    monkeypatch.delattr(Image, "open")  # ultralytics replaces it by one that installs packages
    with pytest.raises(kind, match=words):
        decode(content, "photo.png", LIMIT)


def test_a_bomb_costs_no_memory(tmp_path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(20_000, 20_000))
    tracemalloc.start()
    with pytest.raises(pictures.PictureTooLargeError):
        pictures.read(path, 50_000_000)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2**22


def test_a_missing_file_and_a_folder_are_refused(tmp_path) -> None:
    for path, words in ((tmp_path / "none.png", "is missing"), (tmp_path, "not a file")):
        with pytest.raises(pictures.PictureMissingError, match=words):
            pictures.read(path, LIMIT)


def saved_jpeg(side: int, **options) -> bytes:
    pixels = np.full((side, side * 2, 3), 90, np.uint8)
    pixels[side // 2 :, side:] = 250
    return saved(Image.fromarray(pixels), "JPEG", **options)


def test_a_large_jpeg_is_scaled_down_while_decoding_and_boxes_are_those_of_the_file(
    monkeypatch,
) -> None:
    monkeypatch.setattr(pictures, "KEPT_PIXELS", 10_000)
    exif = Image.Exif()
    exif[0x0112] = 6
    for turned, size in ((None, (402, 201)), (exif, (201, 402))):
        picture = pictures.decode(saved_jpeg(201, exif=turned or b""), "a", LIMIT)
        assert picture.size == size
        assert picture.pixels.shape[1::-1] == tuple(-(-side // 4) for side in size)
        height, width = picture.pixels.shape[:2]
        assert pill_at(0, 0, width, height).scaled(*picture.factors).box == (0, 0, *size)
        assert picture.pixels[height - 5, 5 if turned else width - 5].min() > 240


def test_a_jpeg_of_usual_size_and_its_boxes_stay_as_they_are() -> None:
    picture = pictures.decode(saved_jpeg(100), "a", LIMIT)
    assert picture.size == (200, 100) == picture.pixels.shape[1::-1]
    assert picture.factors == (1, 1)
    assert pill_at(3, 4, 5, 6).scaled(1, 1) == pill_at(3, 4, 5, 6)


def pill_at(*box: int) -> Pill:
    return Pill(box, False, None, None, (), 0.5, 0.5, (), (), 0.0, 0.0)


def test_what_does_not_fit_into_memory_is_cured_by_saving_it_as_jpeg(monkeypatch) -> None:
    monkeypatch.setattr(pictures, "MEMORY_BYTES", 50_000)
    monkeypatch.setattr(pictures, "KEPT_PIXELS", 10_000)
    picture = Image.fromarray(halves(120, 180))
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
def test_the_header_tells_how_much_a_progressive_jpeg_buffers(options, samples: int) -> None:
    file = io.BytesIO(saved_jpeg(101, **options))
    file.seek(5)
    assert jpeg.buffered_bytes(file, 202, 101) == 2 * samples
    assert file.tell() == 5


def test_a_baseline_jpeg_that_starts_with_one_component_is_buffered_too() -> None:
    content = bytearray(saved_jpeg(16))
    scan = content.index(b"\xff\xda")
    content[scan + 4] = 1
    assert jpeg.buffered_bytes(io.BytesIO(content), 32, 16) > 0
