"""What damage.py damages: labels, archives, events, forms, params.yaml and pictures."""

import json
import random
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from make import monitor_runs, odd_pictures
from make.aihub_tree import Shot, label_of
from make.damage import damaged, damaged_json, damaged_picture, damaged_text
from make.import_graph import ROOT
from pillsnap import params
from pillsnap.aihub import labels
from pillsnap.aihub.labels import Expected
from pillsnap.dataset import pictures, source
from pillsnap.monitor import events, view
from pillsnap.monitor.folder import RunFolder
from pillsnap.monitor.state import State, fold
from pillsnap.service import requests
from pillsnap.validation import photos

MAX_PIXELS = 50_000_000
MOST_BYTES = 1 << 20
EXIF = odd_pictures.exif(6)
REFUSED = object()


@dataclass(frozen=True)
class Target:
    """Something that is damaged; `use` returns what was read, REFUSED, or raises UserError."""

    count: int
    make: Callable[[random.Random], Any]
    use: Callable[[Any], Any]
    whole: Any = None  # what an undamaged one is read as; None: any answer will do


def text_targets() -> dict[str, Target]:
    """Labels, archives, events, forms and params.yaml."""
    return {
        "labels": label_target(),
        "archives": archive_target(),
        "events": event_target(),
        "multipart": form_target(),
        "params.yaml": params_target(),
    }


def params_target() -> Target:
    path = Path("damaged.yaml")
    content = (ROOT / "params.yaml").read_bytes()

    def use(case: bytes) -> Any:
        path.write_bytes(case)
        return params.load(path)

    return Target(3000, lambda chance: damaged_text(content, chance), use)


def label_target() -> Target:
    shot = Shot(("K-000030",), latitude=90, longitude=300)
    expected, tree = Expected("K-000030", f"{shot.stem}.png", 90, 300), label_of(shot, "K-000030")

    def use(case: bytes) -> Any:
        reading = labels.parse(case, expected)
        return reading.label or REFUSED

    return Target(100_000, lambda chance: damaged_json(tree, chance), use)


def picture_targets() -> dict[str, Target]:
    """Small and photo-sized pictures of all formats; a plain PNG must be whole or refused."""
    photo = np.repeat(np.repeat(odd_pictures.PIXELS, 20, axis=0), 20, axis=1)
    saved = odd_pictures.saved
    png = saved(photo)
    formats = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
    others = [saved(pixels, form) for form in formats for pixels in (odd_pictures.PIXELS, photo)]
    others += [saved(photo, "JPEG", progressive=True), saved(photo, "JPEG", exif=EXIF)]
    others += [*odd_pictures.AS_THEY_ARE.values(), odd_pictures.interlaced()]
    pngs = [content for content in others if content.startswith(odd_pictures.SIGNATURE)]

    def predict(case: bytes) -> Any:
        return pictures.decode(case, "x", MAX_PIXELS).pixels

    def validate(case: bytes) -> Any:
        try:
            return photos.decode_png(case, MAX_PIXELS)
        except photos.FrameError:
            return REFUSED

    def alike(reader: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        def read(case: bytes) -> Any:
            pixels = reader(case)
            return pixels if pixels is REFUSED else np.array_equal(pixels, photo)

        return read

    return {
        "pictures, predict": Target(10_000, partial(damaged_picture, others), predict),
        "pictures, validate": Target(5_000, partial(damaged_picture, pngs), validate),
        "plain PNG, predict": Target(2_500, partial(damaged, png), alike(predict), True),
        "plain PNG, validate": Target(2_500, partial(damaged, png), alike(validate), True),
    }


def archive_target() -> Target:
    """Zip archives of photos: each photo is whole or cannot be read."""
    photos = {
        f"K-00000{number}/약_{kind}.png": random.Random(number).randbytes(600) * 2
        for number in range(3)
        for kind in (ZIP_STORED, ZIP_DEFLATED, ZIP_BZIP2, ZIP_LZMA)
    }
    path = Path("TS_1_single.zip").resolve()
    with ZipFile(path, "w") as archive:
        for name, content in photos.items():
            archive.writestr(name, content, int(name.partition("_")[2].removesuffix(".png")))

    def use(case: bytes) -> Any:
        path.write_bytes(case)
        found = {}
        try:
            for name in source.members(str(path)):
                with suppress(OSError):  # one photo's finding
                    found[name] = source.read(path / name, MOST_BYTES)
        except OSError:  # the archive's finding
            return REFUSED
        return all(content == photos.get(name, content) for name, content in found.items())

    return Target(2000, partial(damaged, path.read_bytes()), use, whole=True)


def event_target() -> Target:
    """Files of some lines, read and shown by the monitor."""
    path = Path("events.jsonl")

    def make(chance: random.Random) -> bytes:
        kinds = [{**monitor_runs.LINE, "kind": chance.choice(events.KINDS)} for _ in range(5)]
        return b"\n".join(damaged_json(line, chance) for line in kinds) + b"\n"

    def use(case: bytes) -> Any:
        path.write_bytes(case)
        reader, found = events.EventReader(path), []
        while (batch := reader.read()).more or batch.events:
            found += batch.events
        folder = RunFolder(path.parent)
        folder.state = fold(State(), found)
        return json.dumps(view.of(folder, "", 2.0)) if found else REFUSED

    return Target(4_000, make, use)


def form_target() -> Target:
    head = b"Content-Disposition: form-data; name=\"image\"; filename*=utf-8''%EC%95%BD.png\r\n"
    part = b"--XBX\r\n" + head + b"Content-Type: image/png\r\n\r\n" + bytes(100) + b"\r\n"
    kind = b"multipart/form-data; charset=utf-8; boundary=XBX"

    def make(chance: random.Random) -> tuple[str, bytes]:
        announced = damaged_text(kind, chance) if chance.random() < 0.3 else kind
        return announced.decode("latin-1"), damaged_text(3 * part + b"--XBX--\r\n", chance)

    def use(case: tuple[str, bytes]) -> Any:
        try:
            return [name.encode() for name, _ in requests.files(*case)]
        except requests.FormError:
            return REFUSED

    return Target(20_000, make, use)
