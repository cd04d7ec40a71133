from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from make.crop_files import write_store
from pillsnap.dataset import pixels
from pillsnap.dataset.arrow import BATCH_ROWS
from pillsnap.dataset.crops import SCHEMA, CropStore
from pillsnap.errors import DataError

FRAME = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)


def rows(count: int) -> pd.DataFrame:
    values = {"image_path": "a.png", "mapping_code": "K-000001", "class_index": 1, "known": True}
    table = pd.DataFrame([values]).loc[[0] * count]
    for name in SCHEMA.names[4:-1]:
        table[name] = "가" if SCHEMA.field(name).type == "string" else 7
    return table.assign(box_x=range(count))


def store(path: Path, count: int) -> tuple[CropStore, list[bytes]]:
    images = np.random.default_rng(1).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    jpegs = [pixels.encode(image, 95) for image in images]
    write_store(path, rows(count), jpegs)
    return CropStore(path), jpegs


def test_a_crop_is_the_square_around_the_box_with_a_margin_and_a_replicated_border():
    np.testing.assert_array_equal(pixels.cut(FRAME, (30, 20, 32, 24), 32, 0.0), FRAME[16:48, 30:62])
    np.testing.assert_array_equal(
        pixels.cut(FRAME, (40, 30, 20, 10), 30, 0.25), FRAME[20:50, 35:65]
    )
    crop = pixels.cut(FRAME, (0, 0, 10, 10), 20, 0.5)  # past the edge
    np.testing.assert_array_equal(crop[5:, 5:], FRAME[:15, :15])
    np.testing.assert_array_equal(crop[0, 5:], FRAME[0, :15])
    np.testing.assert_array_equal(crop[:5, :5], np.broadcast_to(FRAME[0, 0], (5, 5, 3)))


@pytest.mark.parametrize(
    "box", [(0, 0, 120, 90), (119, 89, 1, 1), (-30, 10, 60, 20), (50.4, 20.6, 0.2, 0.3)]
)
def test_any_box_gives_a_whole_crop(box):
    crop = pixels.cut(FRAME, box, 16, 0.15)
    assert crop.shape == (16, 16, 3)
    assert crop.dtype == np.uint8


def test_shrinking_averages_areas():
    checks = np.indices((64, 64)).sum(axis=0) % 2 * np.uint8(255)
    crop = pixels.cut(np.dstack([checks] * 3).astype(np.uint8), (0, 0, 64, 64), 16, 0.0)
    assert set(np.unique(crop)) <= {127, 128}


def test_jpeg_keeps_the_resolution_of_colour():
    stripes = np.zeros((16, 16, 3), dtype=np.uint8)
    stripes[:, ::2] = (200, 40, 40)
    stripes[:, 1::2] = (40, 40, 200)
    again = pixels.decode(pixels.encode(stripes, 95))
    assert np.abs(again.astype(int) - stripes).max() < 30


def test_near_duplicates_differ_in_few_bits_of_their_perceptual_hash():
    crop = np.random.default_rng(3).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    crop = crop.repeat(8, axis=0).repeat(8, axis=1)
    noise = np.random.default_rng(2).integers(-3, 4, crop.shape)
    noisy = np.clip(crop.astype(int) + noise, 0, 255).astype(np.uint8)
    differing = pixels.perceptual_hash(crop) ^ pixels.perceptual_hash(noisy)
    turned = pixels.perceptual_hash(crop) ^ pixels.perceptual_hash(np.rot90(crop).copy())
    assert differing.bit_count() <= 4
    assert turned.bit_count() > 12


def test_the_store_gives_back_every_crop_and_column(tmp_path):
    opened, jpegs = store(tmp_path / "crops.arrow", BATCH_ROWS + 3)
    assert [bytes(opened.jpeg(i)) for i in range(len(opened))] == jpegs
    np.testing.assert_array_equal(opened.decode(5), pixels.decode(jpegs[5]))
    assert list(opened.table.columns) == SCHEMA.names[:-1]
    assert list(opened.table["box_x"]) == list(range(BATCH_ROWS + 3))


def test_an_open_store_goes_through_pickle_to_another_process(tmp_path):
    opened, jpegs = store(tmp_path / "crops.arrow", 3)
    opened.jpeg(0)
    with get_context("forkserver").Pool(1) as pool:
        decoded = pool.apply(opened.decode, (1,))
    np.testing.assert_array_equal(decoded, pixels.decode(jpegs[1]))


@pytest.mark.parametrize("count", [0, 3])
def test_an_index_outside_is_refused(tmp_path, count):
    opened, _ = store(tmp_path / "crops.arrow", count)
    assert len(opened) == len(opened.table) == count
    for index in (-1, count):
        with pytest.raises(IndexError):
            opened.jpeg(index)


def test_equal_rows_give_equal_bytes_and_lost_ones_are_refused(tmp_path):
    one, two = tmp_path / "one.arrow", tmp_path / "two.arrow"
    store(one, 40)
    store(two, 40)
    assert one.read_bytes() == two.read_bytes()
    one.write_bytes(one.read_bytes()[:-100])
    with pytest.raises(DataError, match="not a complete Arrow file"):
        len(CropStore(one))
    with pytest.raises(DataError, match="dvc repro validate"):
        len(CropStore(tmp_path / "none.arrow"))
