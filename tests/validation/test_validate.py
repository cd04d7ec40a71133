"""validate from end to end: admitted and rejected photos, outputs, repeated runs."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from make.photo_set import CODES, PhotoSet, draw, params_for, shot
from pillsnap.dataset import pixels as crops
from pillsnap.dataset.arrow import ArrowStore
from pillsnap.dataset.crops import SCHEMA, CropStore
from pillsnap.errors import DataError
from pillsnap.validation import outputs
from pillsnap.validation.photos import read_frame

DOCUMENT = Path(__file__).parents[2] / "docs" / "architecture.md"


def test_all_valid_photos_are_admitted_and_crops_are_the_manifests_rows_in_order(photos):
    counts = photos.run()
    verdict = photos.verdict()
    assert verdict["ok"]
    assert {check["status"] for check in verdict["checks"]} == {"pass"}
    assert verdict["admitted"] == {"train": 22, "val": 10, "test": 6}
    assert verdict["rejected"] == {}
    assert photos.rejected() == []
    assert counts["crops"] == counts["admitted"] == len(photos.rows)
    for split in ("train", "val", "test"):
        store = CropStore(photos.places.data_dir / "crops" / f"{split}.arrow")
        rows = pd.read_csv(photos.places.artifacts_dir / f"manifest_{split}.csv")
        columns = [name for name in SCHEMA.names if name not in ("content_hash", "jpeg")]
        assert store.arrow.schema == SCHEMA
        pd.testing.assert_frame_equal(store.table[columns], rows[columns], check_dtype=False)


def test_pictures_show_their_pills_at_their_size(photos):
    photos.run()
    store = CropStore(photos.places.data_dir / "crops" / "train.arrow")
    for index, code in enumerate(store.table["mapping_code"]):
        middle = store.decode(index)[10:22, 10:22].reshape(-1, 3).mean(axis=0)
        assert int(middle.argmax()) == int(code[-1]) % 3
    row, params = store.table.iloc[0], photos.params
    photo, content_hash = read_frame(photos.path(row["image_path"]), 10**6)
    box = row[["box_x", "box_y", "box_w", "box_h"]].to_numpy(dtype=np.int64)
    cut = crops.cut(photo, box, params.at_scale.crop_px, params.validate_.crop_margin)
    assert bytes(store.jpeg(0)) == crops.encode(cut, 95)
    assert row["content_hash"] == content_hash
    table = ArrowStore(photos.places.data_dir / "frames" / "val.arrow").arrow.to_pylist()
    combination = next(row for row in table if row["image_type"] == "combination")
    assert crops.decode(combination["jpeg"]).shape == (160, 120, 3)
    assert (combination["width"], combination["height"]) == (120, 160)
    assert [pill["mapping_code"] for pill in combination["pills"]] == list(CODES[1:])


def test_detection_gets_combinations_and_some_singles_test_unknown_singles(photos):
    photos.run()
    names = detection_names(photos, "train")
    assert sum("-000" in name[8:] for name in names) == 4
    assert len(names) == 4 + photos.params.at_scale.detection_single_frames
    table = ArrowStore(photos.places.data_dir / "frames" / "test.arrow").arrow.to_pylist()
    singles = [row for row in table if row["image_type"] == "single"]
    assert len(table) == 4
    assert [row["pills"][0]["known"] for row in singles] == [False, False]


def test_a_rejected_pill_takes_its_combination_out_of_detection(photos):
    path = photos.photo("train", "combination")
    first = photos.rows.index[photos.rows["image_path"] == path][0]
    photos.rows.loc[first, "box_x"] = 6567
    photos.write()
    photos.run()
    train = photos.places.data_dir / "detection" / "images" / "train"
    assert not (train / f"{Path(path).stem}.jpg").exists()
    assert photos.rejected() == [(path, "box_inside")]
    store = CropStore(photos.places.data_dir / "crops" / "train.arrow")
    pills = (photos.rows["image_path"] == path).sum()
    assert (store.table["image_path"] == path).sum() == pills - 1


def detection_names(photos: PhotoSet, split: str) -> set[str]:
    return {p.stem for p in (photos.places.data_dir / "detection" / "images" / split).iterdir()}


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_incomplete_combination_gives_crops_until_its_label_is_added(photos, split):
    complete, path = photos.rows, photos.photo(split, "combination")
    photos.rows = complete.drop(index=complete.index[complete["image_path"] == path][0])
    photos.params = params_for(photos.rows)
    photos.write()
    photos.run()
    assert Path(path).stem not in detection_names(photos, split)
    if split == "val":
        table = ArrowStore(photos.places.data_dir / "frames" / "val.arrow").arrow
        assert path not in table.column("image_path").to_pylist()
    crops_ = CropStore(photos.places.data_dir / "crops" / f"{split}.arrow").table["image_path"]
    assert (crops_ == path).sum() == (photos.rows["image_path"] == path).sum()
    assert photos.check("combination_incomplete")["count"] == 1
    assert "add the labels" in photos.check("combination_incomplete")["cure"]
    photos.rows, photos.params = complete, params_for(complete)
    photos.write()
    photos.run()
    assert Path(path).stem in detection_names(photos, split)
    assert photos.check("combination_incomplete")["count"] == 0


def lose_class(photos: PhotoSet) -> None:
    for path in photos.rows.loc[
        (photos.rows["split"] == "val") & (photos.rows["mapping_code"] == CODES[0]), "image_path"
    ]:
        photos.path(path).write_bytes(b"")


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (lambda photos: photos.rows.__setitem__("image_type", "video"), "schema"),
        (lambda photos: photos.rows.__setitem__("group_id", "one"), "group_leakage"),
        (lose_class, "class_parity"),
    ],
)
def test_a_failed_check_is_reported_and_leaves_no_outs(photos, change, check):
    change(photos)
    photos.write()
    with pytest.raises(DataError, match=check) as refusal:
        photos.run()
    assert "validation.html" in refusal.value.cure
    assert photos.check(check)["status"] == "fail"
    assert not photos.verdict()["ok"]
    assert (photos.places.artifacts_dir / "rejected.csv").is_file()
    assert (photos.places.artifacts_dir / "validation.html").is_file()
    assert photos.outs() == {}


def test_too_many_rejected_rows_fail_and_the_cure_works(photos):
    photos.path(photos.photo("train")).unlink()
    with pytest.raises(DataError, match=r"rejected_share.*1 of 38 rows \(2\.63%\)") as refusal:
        photos.run(max_rejected=0.02)
    assert photos.rejected() == [(photos.photo("train"), "photo_missing")]
    assert "raise validate.max_rejected" in refusal.value.cure
    assert photos.run(max_rejected=0.03)["rejected"] == 1


DAMAGES: dict[str, Callable[[Path], object]] = {
    "photo_missing": Path.unlink,
    "photo_unreadable": lambda path: (path.unlink(), path.mkdir()),
    "photo_not_png": lambda path: path.write_bytes(b"\xff\xd8\xff\xe0" + bytes(99)),
    "photo_damaged": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "size_differs": lambda path: cv2.imwrite(str(path), np.zeros((9, 9, 3), np.uint8)),
}


def test_exactly_the_damaged_photos_are_rejected_until_they_are_restored(photos):
    victims = [photos.photo("train", number=number) for number in range(4)]
    reasons = dict(zip([*victims, photos.photo("train", "combination")], DAMAGES, strict=True))
    contents = {path: photos.path(path).read_bytes() for path in reasons}
    label = photos.rows.loc[3, "label_path"]
    photos.path(label).unlink()
    for path, reason in reasons.items():
        DAMAGES[reason](photos.path(path))
    photos.run()
    assert photos.rejected() == sorted(reasons.items())
    assert photos.check("label_missing")["examples"] == [label]
    kept = photos.rows[~photos.rows["image_path"].isin(reasons)]
    assert sum(photos.verdict()["admitted"].values()) == len(kept)
    for split, part in kept.groupby("split"):
        store = CropStore(photos.places.data_dir / "crops" / f"{split}.arrow")
        assert sorted(set(store.table["image_path"])) == sorted(set(part["image_path"]))
    for path, content in contents.items():
        if photos.path(path).is_dir():
            photos.path(path).rmdir()
        photos.path(path).write_bytes(content)
    assert photos.run()["rejected"] == 0


def test_a_photo_that_is_too_large_is_admitted_after_raising_max_pixels(photos):
    pixels = 120 * 160
    with pytest.raises(DataError, match="rejected_share"):
        photos.run(max_pixels=pixels - 1)
    assert "raise validate.max_pixels" in photos.check("photo_too_large")["cure"]
    assert photos.run(max_pixels=pixels)["rejected"] == 0


def test_a_manifest_without_its_columns_is_reported(photos):
    path = photos.places.artifacts_dir / "manifest_val.csv"
    pd.read_csv(path).drop(columns="group_id").to_csv(path, index=False)
    with pytest.raises(DataError, match="lacks the columns group_id"):
        photos.run()
    assert photos.check("schema")["status"] == "fail"


def test_the_columns_of_the_outputs_are_documented():
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    [crops_row] = [line for line in lines if "/crops/{train,val,test}.arrow" in line]
    [frames_row] = [line for line in lines if "/frames/{val,test}.arrow" in line]
    assert f"`{', '.join(SCHEMA.names)}`" in crops_row
    assert f"`{', '.join(outputs.FRAME_SCHEMA.names)}`" in frames_row
    assert f"`{{{', '.join(outputs.PILL_COLUMNS)}}}`" in frames_row


def test_a_second_run_reads_no_photo_and_gives_the_same_bytes_as_a_fresh_one(photos):
    photos.run()
    first = photos.outs()
    assert photos.decoded == 28 and len(first) > 20
    photos.run()
    assert photos.decoded == 0 and photos.outs() == first
    shutil.rmtree(photos.places.work_dir)
    photos.run()
    assert photos.decoded == 28 and photos.outs() == first


def test_only_added_photos_are_read(photos):
    photos.run()
    added = [row for i in range(9) for row in shot((CODES[i % 3],), "train", i, 200)]
    for row in added:
        draw(photos.path(row["image_path"]), pd.DataFrame([row]))
        photos.path(row["label_path"]).write_text("{}")
    photos.rows = pd.concat([photos.rows, pd.DataFrame(added)], ignore_index=True)
    photos.write()
    photos.params = params_for(photos.rows)
    photos.run()
    assert photos.decoded == 9
    assert photos.verdict()["admitted"]["train"] == 31


def test_near_duplicates_across_splits_are_counted(photos):
    val, train = photos.photo("val"), photos.photo("train")
    pixels = cv2.imread(str(photos.path(train)))
    pixels[::7, ::5] ^= 1
    assert cv2.imwrite(str(photos.path(val)), pixels)
    photos.run()
    found = photos.check("near_duplicates_across_splits")
    assert found["count"] == 1
    assert found["examples"][0].startswith(f"{val} (val): ")
