"""Photos: header first, one read, damage named (prediction/test_pictures.py has its kinds)."""

import errno
import resource
import zlib
from pathlib import Path

import numpy as np
import pytest
import xxhash

from make.odd_pictures import chunk, ihdr, png, saved
from pillsnap.dataset import pixels as frames_
from pillsnap.validation.photos import FrameError, read_frame

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)


def reason_of(path: Path, content: bytes, max_pixels: int = 10**6) -> str:
    path.write_bytes(content)
    with pytest.raises(FrameError) as refusal:
        read_frame(path, max_pixels)
    return refusal.value.reason


def test_every_flipped_byte_of_the_pixel_data_is_found(tmp_path):
    content = saved(PIXELS[:6, :6])
    start = content.index(b"IDAT") + 4
    for position in range(start, len(content) - 12):
        changed = bytearray(content)
        changed[position] ^= 4
        assert reason_of(tmp_path / "a.png", changed) == "photo_damaged"


def test_an_error_of_the_disk_is_that_photos_alone(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    (tmp_path / "a.png").write_bytes(saved(PIXELS))
    monkeypatch.setattr("pillsnap.dataset.source.os.read", fail)
    with pytest.raises(FrameError, match="Input/output error") as refusal:
        read_frame(tmp_path / "a.png", 10**6)
    assert refusal.value.reason == "photo_unreadable"


@pytest.mark.parametrize("size", [(20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_by_its_header(tmp_path, size):
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bomb = png(head=ihdr(side=size), image=chunk(b"IDAT", zlib.compress(bytes(1000))))
    assert reason_of(tmp_path / "a.png", bomb, 50_000_000) == "photo_too_large"
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    assert grown_kb < 200 * 1024  # decoded it takes 1.2 GB


def test_a_file_longer_than_any_photo_is_not_read(tmp_path):
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(10**12)  # sparse: takes no room
    with pytest.raises(FrameError) as refusal:
        read_frame(path, 10**6)
    assert refusal.value.reason == "photo_too_large"


def test_a_photo_comes_with_the_hash_of_its_bytes_that_of_its_pixels_depends_on_the_shape(tmp_path):
    hashes = {frames_.pixel_hash(PIXELS)}
    for level in (1, 9):
        content = saved(PIXELS, compress_level=level)
        (tmp_path / "a.png").write_bytes(content)
        pixels, content_hash = read_frame(tmp_path / "a.png", 1200)
        np.testing.assert_array_equal(pixels, PIXELS)
        assert content_hash == xxhash.xxh3_128_hexdigest(content)
        hashes.add(frames_.pixel_hash(pixels))
    assert len(hashes) == 1
    assert frames_.pixel_hash(PIXELS.reshape(30, 40, 3)) not in hashes
