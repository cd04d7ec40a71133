"""A folder of photos as people have them: good ones, odd ones, broken ones and a bomb."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from make import odd_pictures
from make.drawn_models import RED, frame
from make.import_graph import ROOT
from pillsnap.params import load

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


def edited(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """A good photo whose bytes are changed."""

    def write(path: Path) -> None:
        Image.fromarray(GOOD).save(path, compress_level=0)
        path.write_bytes(change(path.read_bytes()))

    return write


def false_checksum(content: bytes) -> bytes:
    """One byte of the pixels is another; only the checksums tell."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def no_width(content: bytes) -> bytes:
    return content[:8] + odd_pictures.chunk(b"IHDR", bytes(4) + content[20:29]) + content[33:]


def of(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


ANSWERED = {
    **{f"good {n}.png": lambda path: Image.fromarray(GOOD).save(path) for n in range(5)},
    "turned by EXIF.jpg": turned,
    "RGBA.png": lambda path: Image.fromarray(GOOD).convert("RGBA").save(path),
    "grey.png": lambda path: Image.fromarray(GREY).save(path),
    "16 bits.png": lambda path: cv2.imwrite(str(path), GREY.astype(np.uint16) * 256),
    "CMYK.jpg": lambda path: Image.fromarray(GOOD).convert("CMYK").save(path, quality=95),
    "WebP.webp": lambda path: Image.fromarray(GOOD).save(path, quality=95),
    "moving.gif": lambda path: Image.fromarray(GOOD).save(
        path, save_all=True, append_images=[Image.fromarray(frame())]
    ),
}
REFUSED = {
    "IMG_0001.HEIC": (of(b"\0\0\0\x18ftypheic" + bytes(100)), "HEIC or AVIF"),
    "empty.jpg": (of(b""), "the file is empty"),
    "text.png": (of(b"these are words"), "not a picture"),
    "bomb.png": (of(odd_pictures.zeros(BOMB_SIDE)), "20000 x 20000 pixels"),
    "cut short.png": (edited(lambda content: content[:-200]), "damaged"),
    "cut short.jpg": (edited(lambda content: content[:-200]), "damaged"),
    "false checksum.png": (edited(false_checksum), "damaged"),
    "start alone.jpg": (of(b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(range(256))), "damaged"),
    "no width.png": (edited(no_width), "damaged"),
    "header alone.tif": (of(b"II*\0\x08\0\0\0"), "damaged"),
    "link.png": (lambda path: path.symlink_to("gone.png"), "a link to nothing"),
    "pipe.png": (os.mkfifo, "not a regular file"),
}


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> subprocess.CompletedProcess[str]:
    """`pillsnap predict --json` of all of them, some in a folder that is named as a picture."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "album.png").mkdir()
    for name, make in ANSWERED.items():
        make(folder / "album.png" / name)
    for name, (make, _) in REFUSED.items():
        make(folder / name)
    program = [sys.executable, ROOT / "tests/make/drawn_predict.py"]
    most_pixels = load(ROOT / "params.yaml").validate_.max_pixels
    return subprocess.run(
        [*program, str(most_pixels), str(folder)], capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def answers(done) -> dict[str, dict]:
    return {Path(tree["path"]).name: tree for tree in json.loads(done.stdout)}


@pytest.mark.parametrize("name", ANSWERED)
def test_a_photo_that_can_be_read_shows_its_pill_upright(answers, name: str) -> None:
    [pill] = answers[name]["pills"]
    assert pill["box"] == pytest.approx(BOX, abs=2)  # lossy formats blur the edge
    if name.startswith("good"):
        assert (tuple(pill["box"]), pill["code"]) == (BOX, "K-000000")


@pytest.mark.parametrize("name", REFUSED)
def test_a_photo_that_cannot_be_read_has_its_reason_and_a_cure(answers, done, name: str) -> None:
    refused = answers[name]
    assert refused["pills"] == []
    assert re.search(rf"/{re.escape(name)}(: | is | cannot )", refused["error"]["fact"])
    assert REFUSED[name][1] in refused["error"]["fact"]
    assert refused["error"]["cure"]
    assert done.stderr.count(refused["error"]["fact"]) == 1


def test_it_answers_all_ends_with_exit_code_1_and_costs_little_memory(done, answers) -> None:
    assert set(answers) == {*ANSWERED, *REFUSED}
    assert done.returncode == 1
    assert "24 pictures: 12 answered, 12 refused" in done.stderr
    assert max(json.loads(done.stderr.splitlines()[-1]).values()) < MOST_GROWTH_MB
