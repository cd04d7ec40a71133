import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from pillsnap.dataset import pixels as crops
from pillsnap.prediction import jpeg, pictures
from pillsnap.recognition.recogniser import Pill

LIMIT = 10**6


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

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def decode(content: bytes, name: str, max_pixels: int) -> np.ndarray:
    return pictures.decode(content, name, max_pixels).pixels


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
def test_a_lossless_picture_is_read_pixel_for_pixel(form: str) -> None:
    read = decode(saved(Image.fromarray(halves()), form), "a", LIMIT)
    assert read.dtype == np.uint8
    assert np.array_equal(read, halves())


@pytest.mark.parametrize(
    ("form", "options"), [("WEBP", {"quality": 95}), ("JPEG", {}), ("GIF", {})]
)
def test_a_lossy_picture_is_read_almost_so(form: str, options: dict) -> None:
    read = decode(saved(Image.fromarray(halves()), form, **options), "a", LIMIT)
    assert np.abs(read.astype(int) - halves())[:, [5, -5]].max() < 20


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


def test_transparent_parts_become_white() -> None:
    pixels = np.dstack([halves(), np.full((40, 60), 255, np.uint8)])
    pixels[:20, :, 3] = 0
    read = decode(saved(Image.fromarray(pixels), "PNG"), "a", LIMIT)
    assert (read[:20] == 255).all()
    assert np.array_equal(read[20:], halves()[20:])


def test_a_palette_with_a_transparent_colour_becomes_white_there() -> None:
    picture = Image.fromarray(halves()).convert("P", palette=Image.Palette.ADAPTIVE, colors=2)
    content = saved(picture, "PNG", transparency=int(np.asarray(picture)[0, 0]))
    assert (decode(content, "a", LIMIT)[:, :30] == 255).all()


def test_grey_has_three_equal_channels() -> None:
    grey = halves()[..., 0]
    read = decode(saved(Image.fromarray(grey), "PNG"), "a", LIMIT)
    assert np.array_equal(read, np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_grey_of_16_bits_keeps_its_upper_8(form: str) -> None:
    deep = halves()[..., 0].astype(np.uint16) * 256 + 77
    read = decode(saved(Image.fromarray(deep), form), "a", LIMIT)
    assert np.array_equal(read[..., 1], halves()[..., 0])


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_colour_of_16_bits_keeps_its_upper_8(suffix: str) -> None:
    deep = halves()[..., ::-1].astype(np.uint16) * 256 + 77
    content = cv2.imencode(suffix, deep)[1].tobytes()
    assert np.array_equal(decode(content, "a", LIMIT), halves())


def test_cmyk_becomes_rgb() -> None:
    content = saved(Image.fromarray(halves()).convert("CMYK"), "JPEG", quality=95)
    read = decode(content, "a", LIMIT).astype(int)
    assert np.abs(read - halves())[:, [5, -5]].max() < 20


def test_a_picture_is_read_from_its_file(tmp_path) -> None:
    path = tmp_path / "알약 사진.png"
    path.write_bytes(saved(Image.fromarray(halves()), "PNG"))
    assert np.array_equal(pictures.read(path, LIMIT).pixels, halves())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (saved(Image.fromarray(halves()), "PNG")[:-40], "damaged"),
        (saved(Image.fromarray(halves()), "JPEG")[:-200], "damaged"),
        (saved(Image.fromarray(halves()), "WEBP")[:-30], "damaged|not a picture"),
        (saved(Image.fromarray(halves()), "BMP")[:200], "damaged"),
        (b"\x89PNG\r\n\x1a\n" + bytes(60), "damaged|not a picture"),
    ],
    ids=["empty", "png", "jpeg", "webp", "bmp", "png of zeros"],
)
def test_a_broken_picture_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(pictures.PictureError, match=words):
        decode(content, "photo.png", LIMIT)


def test_a_flipped_bit_in_a_png_is_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 48, 3)).astype(np.uint8)
    content = bytearray(saved(Image.fromarray(noise), "PNG"))
    content[len(content) // 2] ^= 4
    with pytest.raises(pictures.PictureDamagedError, match=r"photo\.png"):
        decode(bytes(content), "photo.png", LIMIT)


def test_text_is_refused_whatever_its_name() -> None:
    with pytest.raises(pictures.PictureKindError, match="not a picture"):
        decode(b"these are words", "photo.png", LIMIT)


def test_heic_is_refused_with_how_to_convert_it() -> None:
    content = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(100)
    with pytest.raises(pictures.PictureKindError, match="heif-convert"):
        decode(content, "IMG_0001.HEIC", LIMIT)


def test_a_picture_over_the_limit_is_refused_by_its_header() -> None:
    with pytest.raises(pictures.PictureTooLargeError, match="2001 x 1000"):
        decode(bomb(2001, 1000), "a", 2000 * 1000)


def test_a_bomb_costs_no_memory(tmp_path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(20_000, 20_000))
    tracemalloc.start()
    with pytest.raises(pictures.PictureTooLargeError):
        pictures.read(path, 50_000_000)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2**22


@pytest.mark.parametrize("shape", [(15, 200), (20, 321)])
def test_a_strip_is_refused(shape: tuple[int, int]) -> None:
    strip = np.zeros((*shape, 3), np.uint8)
    with pytest.raises(pictures.PictureKindError, match="too thin"):
        decode(saved(Image.fromarray(strip), "PNG"), "a", LIMIT)


def test_numbers_of_no_agreed_range_are_refused() -> None:
    content = saved(Image.fromarray(np.zeros((40, 40), np.float32)), "TIFF")
    with pytest.raises(pictures.PictureKindError, match="32 bits"):
        decode(content, "a", LIMIT)


def test_the_library_of_the_detector_has_no_say_in_what_is_a_picture(monkeypatch) -> None:
    def replaced(*_: object, **__: object) -> None:
        raise AssertionError("ultralytics' own Image.open was called")

    monkeypatch.setattr(Image, "open", replaced)
    with pytest.raises(pictures.PictureKindError):
        decode(b"these are words", "photo.png", LIMIT)


def test_a_missing_file_is_refused(tmp_path) -> None:
    with pytest.raises(pictures.PictureMissingError, match="is missing"):
        pictures.read(tmp_path / "none.png", LIMIT)


def test_a_folder_is_refused(tmp_path) -> None:
    with pytest.raises(pictures.PictureMissingError, match="not a file"):
        pictures.read(tmp_path, LIMIT)


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
    return Pill(box, False, None, None, (), 0.5, 0.5, ())


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


def test_a_tiff_of_huge_tiles_is_refused_by_its_header() -> None:
    tags = [
        (256, 64), (257, 64), (258, 8), (259, 8), (262, 1), (277, 1), (322, 60_000), (323, 60_000),
        (324, 8), (325, 10),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    with pytest.raises(pictures.PictureTooLargeError):
        pictures.decode(head, "a", LIMIT)


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
