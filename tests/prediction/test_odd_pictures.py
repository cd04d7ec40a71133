"""A folder of photos as people have them: good ones, odd ones, broken ones and a bomb."""

import json
import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from make.drawn_models import RED, frame
from make.import_graph import ROOT
from pillsnap.params import load
from pillsnap.prediction import predict as prediction

pytestmark = pytest.mark.slow

BOX = (20, 30, 60, 60)
GOOD = frame((20, 30, 60, RED))
GREY = np.asarray(Image.fromarray(frame((20, 30, 60, (250, 250, 250)))).convert("L"))
BOMB_SIDE = 20_000
MOST_GROWTH_MB = 200  # the bomb alone is 400


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned to the right
    Image.fromarray(np.rot90(GOOD)).save(path, exif=exif, quality=95)


def bomb(path: Path) -> None:
    """A whole, sound PNG of 400 million grey pixels in less than half a megabyte."""
    row, packer = bytes(BOMB_SIDE + 1), zlib.compressobj(1)
    packed = b"".join(packer.compress(row) for _ in range(BOMB_SIDE)) + packer.flush()
    header = struct.pack(">IIBBBBB", BOMB_SIDE, BOMB_SIDE, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")):
        check = struct.pack(">I", zlib.crc32(kind + body))
        content += struct.pack(">I", len(body)) + kind + body + check
    path.write_bytes(content)


def moving(path: Path) -> None:
    first, second = Image.fromarray(GOOD), Image.fromarray(frame())
    first.save(path, save_all=True, append_images=[second])


def cut_short(path: Path) -> None:
    Image.fromarray(GOOD).save(path)
    path.write_bytes(path.read_bytes()[:-200])


def false_checksum(path: Path) -> None:
    """One byte of the pixels is another; only the checksums tell."""
    Image.fromarray(GOOD).save(path, compress_level=0)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def no_width(path: Path) -> None:
    Image.fromarray(GOOD).save(path)
    content = path.read_bytes()
    header = b"IHDR" + bytes(4) + content[20:29]
    check = struct.pack(">I", zlib.crc32(header))
    path.write_bytes(content[:12] + header + check + content[33:])


Maker = Callable[[Path], object]

ANSWERED: dict[str, Maker] = {
    "turned by EXIF.jpg": turned,
    "RGBA.png": lambda path: Image.fromarray(GOOD).convert("RGBA").save(path),
    "grey.png": lambda path: Image.fromarray(GREY).save(path),
    "16 bits.png": lambda path: cv2.imwrite(str(path), GREY.astype(np.uint16) * 256),
    "CMYK.jpg": lambda path: Image.fromarray(GOOD).convert("CMYK").save(path, quality=95),
    "WebP.webp": lambda path: Image.fromarray(GOOD).save(path, quality=95),
    "moving.gif": moving,
}
REFUSED: dict[str, tuple[Maker, str]] = {
    "IMG_0001.HEIC": (
        lambda path: path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(100)),
        "HEIC or AVIF",
    ),
    "empty.jpg": (lambda path: path.touch(), "the file is empty"),
    "text.png": (lambda path: path.write_text("these are words"), "not a picture"),
    "bomb.png": (bomb, "20000 x 20000 pixels"),
    "cut short.png": (cut_short, "damaged"),
}
READABLE = ("turned by EXIF.jpg", "RGBA.png", "16 bits.png", "CMYK.jpg", "WebP.webp")
UNREADABLE = REFUSED | {
    "cut short.jpg": (cut_short, "damaged"),
    "false checksum.png": (false_checksum, "damaged"),
    "start alone.jpg": (
        lambda path: path.write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(range(256))),
        "damaged",
    ),
    "no width.png": (no_width, "damaged"),
    "header alone.tif": (lambda path: path.write_bytes(b"II*\0\x08\0\0\0"), "damaged"),
    "link.png": (lambda path: path.symlink_to("gone.png"), "a link to nothing"),
    "pipe.png": (os.mkfifo, "not a file"),
}


def predict(folder: Path) -> subprocess.CompletedProcess[str]:
    """`pillsnap predict --json` of a folder; last on standard error, the memory it took."""
    program = [sys.executable, ROOT / "tests/make/drawn_predict.py"]
    most_pixels = load(ROOT / "params.yaml").validate_.max_pixels
    return subprocess.run(
        [*program, str(most_pixels), str(folder)], capture_output=True, text=True, timeout=120
    )


def by_name(done: subprocess.CompletedProcess[str]) -> dict[str, dict]:
    return {Path(tree["path"]).name: tree for tree in json.loads(done.stdout)}


def grown_mb(done: subprocess.CompletedProcess[str]) -> dict[str, float]:
    return json.loads(done.stderr.splitlines()[-1])


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> subprocess.CompletedProcess[str]:
    """A folder with five good photos and the twelve odd ones."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(5):
        Image.fromarray(GOOD).save(folder / f"good {number}.png")
    for name, make in ANSWERED.items():
        make(folder / name)
    for name, (make, _) in REFUSED.items():
        make(folder / name)
    return predict(folder)


@pytest.fixture(scope="module")
def half_lost(tmp_path_factory) -> subprocess.CompletedProcess[str]:
    """Five odd photos that can be read, in a folder named as a picture, and twelve that cannot."""
    folder = tmp_path_factory.mktemp("lost")
    (folder / "album.png").mkdir()
    for name in READABLE:
        ANSWERED[name](folder / "album.png" / name)
    for name, (make, _) in UNREADABLE.items():
        make(folder / name)
    return predict(folder)


@pytest.fixture
def answers(done) -> dict[str, dict]:
    return by_name(done)


def test_every_picture_of_the_folder_is_in_the_answer(answers) -> None:
    assert len(answers) == 5 + 12 == 5 + len(ANSWERED) + len(REFUSED)


def test_the_good_photos_are_answered_as_if_they_were_alone(answers) -> None:
    for number in range(5):
        [pill] = answers[f"good {number}.png"]["pills"]
        assert (tuple(pill["box"]), pill["code"]) == (BOX, "K-000000")


@pytest.mark.parametrize("name", ANSWERED)
def test_an_odd_photo_that_can_be_read_shows_its_pill_upright(answers, name: str) -> None:
    [pill] = answers[name]["pills"]
    assert pill["box"] == pytest.approx(BOX, abs=2)  # lossy formats blur the edge


@pytest.mark.parametrize("name", REFUSED)
def test_a_photo_that_cannot_be_read_has_its_reason_and_a_cure(answers, done, name: str) -> None:
    refused = answers[name]
    assert refused["pills"] == []
    assert name in refused["error"]["fact"]
    assert REFUSED[name][1] in refused["error"]["fact"]
    assert refused["error"]["cure"]
    assert refused["error"]["fact"] in done.stderr


def test_it_ends_with_exit_code_1(done) -> None:
    assert done.returncode == 1
    assert "17 pictures: 12 answered, 5 refused" in done.stderr


def test_no_picture_costs_much_memory(done) -> None:
    assert max(grown_mb(done).values()) < MOST_GROWTH_MB


def test_five_odd_photos_are_answered_among_twelve_that_cannot_be_read(half_lost) -> None:
    answers = by_name(half_lost)
    assert set(answers) == {*READABLE, *UNREADABLE}
    assert (len(READABLE), len(UNREADABLE)) == (5, 12)
    assert {name for name, answer in answers.items() if "error" not in answer} == set(READABLE)
    for name in READABLE:
        [pill] = answers[name]["pills"]
        assert pill["box"] == pytest.approx(BOX, abs=2)


@pytest.mark.parametrize("name", UNREADABLE)
def test_each_of_the_twelve_has_a_reason_of_its_own_and_a_cure(half_lost, name: str) -> None:
    refused = by_name(half_lost)[name]
    assert refused["pills"] == []
    assert re.search(rf"/{re.escape(name)}(: | is )", refused["error"]["fact"])
    assert UNREADABLE[name][1] in refused["error"]["fact"]
    assert refused["error"]["cure"]
    assert half_lost.stderr.count(refused["error"]["fact"]) == 1


def test_twelve_lost_photos_end_it_with_exit_code_1_and_cost_little_memory(half_lost) -> None:
    assert half_lost.returncode == 1
    assert "17 pictures: 5 answered, 12 refused" in half_lost.stderr
    assert max(grown_mb(half_lost).values()) < MOST_GROWTH_MB


def test_a_glob_keeps_the_broken_link_among_the_photos_it_matches(tmp_path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "b.png").symlink_to("gone.png")
    (tmp_path / "c.png").mkdir()
    found = prediction.expand([str(tmp_path / "*.png")])
    assert [path.name for path in found] == ["a.png", "b.png"]
