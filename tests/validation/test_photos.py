"""Photos: header first, one read, damage named (prediction/test_pictures.py has its kinds)."""

import errno
import io
import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import xxhash
from PIL import Image

from pillsnap.dataset import pixels as frames_
from pillsnap.dataset import png as png_room
from pillsnap.validation.photos import FrameError, read_frame

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)


def png(pixels: np.ndarray = PIXELS, mode: str | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(buffer, "PNG", **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content)) + kind + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )  # fmt: skip


def bomb(width: int, height: int) -> bytes:
    rows = zlib.compress(bytes(1000))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return png_room.SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + png_room.END


def reason_of(path: Path, content: bytes, max_pixels: int = 10**6) -> str:
    path.write_bytes(content)
    with pytest.raises(FrameError) as refusal:
        read_frame(path, max_pixels)
    return refusal.value.reason


def with_bit_flipped(content: bytes, position: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 4
    return bytes(changed)


def test_a_valid_photo_is_returned_with_the_hash_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png())
    frame = read_frame(path, 1200)
    np.testing.assert_array_equal(frame.pixels, PIXELS)
    assert frame.content_hash == xxhash.xxh3_128_hexdigest(png())


def test_every_flipped_byte_of_the_pixel_data_is_found(tmp_path: Path) -> None:
    content = png(PIXELS[:6, :6])
    start = content.index(b"IDAT") + 4
    for position in range(start, len(content) - 12):
        changed = with_bit_flipped(content, position)
        assert reason_of(tmp_path / "a.png", changed) == "photo_damaged"


@pytest.mark.parametrize("content", [b"<html>not found</html>", b"\xff\xd8\xff\xe0" + bytes(99)])
def test_a_file_of_another_format_is_named(tmp_path: Path, content: bytes) -> None:
    assert reason_of(tmp_path / "a.png", content) == "photo_not_png"


def test_an_error_of_the_disk_is_that_photos_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    (tmp_path / "a.png").write_bytes(png())
    monkeypatch.setattr("pillsnap.dataset.source.os.read", fail)
    with pytest.raises(FrameError, match="Input/output error") as refusal:
        read_frame(tmp_path / "a.png", 10**6)
    assert refusal.value.reason == "photo_unreadable"


@pytest.mark.parametrize("size", [(20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_by_its_header(tmp_path: Path, size: tuple[int, int]) -> None:
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert reason_of(tmp_path / "a.png", bomb(*size), 50_000_000) == "photo_too_large"
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    assert grown_kb < 200 * 1024  # decoded it takes 1.2 GB


def test_a_file_longer_than_any_photo_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(10**12)  # sparse: takes no room
    with pytest.raises(FrameError) as refusal:
        read_frame(path, 10**6)
    assert refusal.value.reason == "photo_too_large"


CLEAR = np.dstack([PIXELS, np.full((40, 30), 128, dtype=np.uint8)])


@pytest.mark.parametrize(
    ("content", "expected", "tolerance"),
    [
        (png(np.full((4, 4), 999, dtype=np.uint16)), np.full((4, 4, 3), 999 >> 8), 0),
        (png(CLEAR), (PIXELS.astype(int) + 255) / 2, 1),  # on white
        (png(mode="RGBA"), PIXELS, 0),
        *(
            (png(mode=mode), np.asarray(Image.fromarray(PIXELS).convert(mode).convert("RGB")), 0)
            for mode in ("L", "P", "1")
        ),
    ],
)
def test_every_kind_of_png_becomes_rgb(
    tmp_path: Path, content: bytes, expected: np.ndarray, tolerance: int
) -> None:
    (tmp_path / "a.png").write_bytes(content)
    found = read_frame(tmp_path / "a.png", 10**4).pixels
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= tolerance


def test_the_pixel_hash_depends_on_the_shape_and_not_on_the_encoding(tmp_path: Path) -> None:
    hashes = {frames_.pixel_hash(PIXELS)}
    for level in (1, 9):
        (tmp_path / "a.png").write_bytes(png(compress_level=level))
        hashes.add(frames_.pixel_hash(read_frame(tmp_path / "a.png", 10**4).pixels))
    assert len(hashes) == 1
    assert frames_.pixel_hash(PIXELS.reshape(30, 40, 3)) not in hashes
