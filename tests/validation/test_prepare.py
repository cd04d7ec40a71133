"""Preparation: photos are read once, whatever the processes, restarts and additions."""

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pillsnap.stage.engines import Engine
from pillsnap.validation import prepare as preparation
from pillsnap.validation.prepare import (
    FEW_FRAMES,
    PICTURES_VERSION,
    FrameTask,
    Preparation,
    Recipe,
    prepare,
    prepare_frame,
    with_keys,
)
from pillsnap.validation.work_store import Kind, Prepared, WorkStore

RECIPE = Recipe(crop_px=24, crop_margin=0.1, frame_px=32, jpeg_quality=95, max_pixels=10**5)
BOX = (10, 12, 20, 16)
ALL = frozenset([Kind.CROP, Kind.DETECTION, Kind.FRAME])


def task(folder: Path, number: int, kinds: frozenset[Kind] = ALL) -> FrameTask:
    path = folder / f"{number}.png"
    if not path.exists():
        pixels = np.random.default_rng(number).integers(0, 256, (64, 48, 3), dtype=np.uint8)
        assert cv2.imwrite(str(path), pixels)
    return FrameTask(path.name, path, (BOX, (0, 0, 9, 9)), (48, 64), kinds)


def run(tasks: list[FrameTask], work: Path, num_workers: int = 1) -> Preparation:
    with WorkStore(work) as store:
        engine = Engine(processes=num_workers)
        return prepare(with_keys(tasks), work.parent, RECIPE, store, engine, lambda *_: None)


def content(work: Path, prepared: Preparation) -> dict[str, object]:
    with WorkStore(work) as store:
        hashes = store.hashes()
        return {
            path: (hashes[key], [store.jpegs(key, kind) for kind in Kind])
            for path, key in prepared.keys.items()
        }


def test_a_photo_is_decoded_again_for_more_pictures_and_not_for_fewer(tmp_path):
    work = tmp_path / "a.sqlite"
    run([task(tmp_path, 1, frozenset([Kind.CROP, Kind.FRAME]))], work)
    assert run([task(tmp_path, 1, frozenset([Kind.CROP]))], work).decoded == 0
    prepared = run([task(tmp_path, 1, frozenset([Kind.CROP, Kind.DETECTION]))], work)
    assert prepared.decoded == 1
    with WorkStore(work) as store:
        assert store.kinds()[prepared.keys["1.png"]] == ALL


@pytest.mark.parametrize("change", ["bytes", "boxes"])
def test_a_changed_photo_is_decoded_again(tmp_path, change):
    one = task(tmp_path, 1)
    run([one], tmp_path / "a.sqlite")
    if change == "bytes":
        (tmp_path / "1.png").unlink()
        (tmp_path / "1.png").write_bytes(task(tmp_path, 2).path.read_bytes())
    else:
        one = replace(one, boxes=(BOX,))
    assert run([one], tmp_path / "a.sqlite").decoded == 1


def test_processes_do_not_change_the_pictures(tmp_path):
    tasks = [task(tmp_path, number) for number in range(FEW_FRAMES + 20)]
    alone, together = tmp_path / "one.sqlite", tmp_path / "two.sqlite"
    first = run(tasks, alone, num_workers=1)
    second = run(tasks, together, num_workers=2)
    assert first == second
    assert content(alone, first) == content(together, second)


def test_progress_starts_with_the_photos_done_before(tmp_path):
    tasks = [task(tmp_path, number) for number in range(12)]
    run(tasks[:2], tmp_path / "a.sqlite")
    steps: list[tuple[int, int]] = []
    with WorkStore(tmp_path / "a.sqlite") as store:
        prepare(
            with_keys(tasks), tmp_path, RECIPE, store, Engine(processes=1),
            lambda done, total: steps.append((done, total)),
        )  # fmt: skip
    assert steps == [(2, 12), (10, 12), (12, 12)]


def golden_task(folder: Path) -> FrameTask:
    """A photo made of ramps and edges, no random numbers: the same bytes wherever it is made."""
    rows, columns = np.mgrid[0:90, 0:70]
    pixels = np.stack([rows * 2, columns * 3, (rows // 8 + columns // 8) % 2 * 200], axis=2)
    assert cv2.imwrite(str(folder / "golden.png"), pixels.astype(np.uint8))
    kinds = frozenset(Kind)
    return FrameTask(
        "golden.png", folder / "golden.png", (BOX, (50, 60, 18, 25)), (70, 90), kinds, key="k"
    )


def test_a_version_of_pictures_has_these_bytes(tmp_path):
    """When this fails on purpose: raise PICTURES_VERSION and put the new hash here."""
    made = prepare_frame(golden_task(tmp_path), RECIPE)
    assert isinstance(made, Prepared)
    digest = hashlib.sha256(f"{PICTURES_VERSION} {made.pixel_hash}".encode())
    for picture in made.pictures:
        digest.update(f"{picture.kind} {picture.perceptual_hash}".encode() + picture.jpeg)
    assert digest.hexdigest()[:16] == "4758ebaf36bf267c"


def test_another_recipe_or_version_has_its_own_store(monkeypatch):
    before = RECIPE.pictures_version
    assert replace(RECIPE, crop_px=25).pictures_version != before
    monkeypatch.setattr(preparation, "PICTURES_VERSION", PICTURES_VERSION + 1)
    assert RECIPE.pictures_version != before
