"""From a tree to manifests: invalid labels are replaced, equal inputs give equal bytes."""

import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest

from make.aihub_tree import (
    VIEWS,
    Shot,
    edit_label,
    label_path,
    photo_path,
    write_shot,
    write_tree,
)
from make.orders import order
from pillsnap.dataset import manifest
from pillsnap.dataset.names import parse_codes
from pillsnap.errors import DataError
from pillsnap.formats import fingerprint
from pillsnap.manifest import build as selection
from pillsnap.manifest import tables
from pillsnap.manifest.build import Selection
from pillsnap.manifest.choice import TEST
from pillsnap.params import Params
from pillsnap.stage import engines

CODES = [f"K-{number:06d}" for number in range(1, 9)]
COMBOS = [tuple(CODES[at : at + 3]) for at in range(6)] + [(*CODES[:2], "K-000099")]
FILES = ("manifest_train.csv", "manifest_val.csv", "manifest_test.csv", "classes.csv")


def build(root: Path, an_order: Params | None = None) -> Selection:
    recorded = fingerprint.take(root)
    return selection.build(root, an_order or order(), recorded, lambda done, total: None)


def rows_of(chosen: Selection, side: int) -> pd.DataFrame:
    return pd.DataFrame(tables.rows_of(chosen, side))


def samples(chosen: Selection) -> pd.DataFrame:
    return pd.concat([rows_of(chosen, side) for side in (0, 1)])


def test_a_tree_that_was_not_recorded_is_refused(tmp_path):
    write_shot(tmp_path, Shot((CODES[0],)))
    with pytest.raises(DataError, match="no fingerprint yet"):
        selection.build(tmp_path, order(), None, lambda done, total: None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_tree(
        tmp_path / "tree", CODES, combos=COMBOS, val_codes=["K-000051", "K-000052"],
        val_combos=[(CODES[0], CODES[4]), (CODES[0], "K-000051")],
    )  # fmt: skip
    return tmp_path / "tree"


def test_rows_follow_groups_names_and_classes(root):
    chosen = build(root, order(combination_share=0.3))
    groups = [set(rows_of(chosen, side)["group_id"]) for side in range(3)]
    assert not groups[0] & groups[1] and not (groups[0] | groups[1]) & groups[2]
    rows = samples(chosen)
    for path, frame in rows[rows["image_type"] == "combination"].groupby("image_path"):
        name = str(path).rpartition("/")[2].partition("_")[0]
        assert tuple(sorted(frame["mapping_code"])) == parse_codes(name)
    outside = rows[rows["mapping_code"] == "K-000099"]
    assert len(outside) and not outside["known"].any()
    assert set(outside["class_index"]) == {-1}


def test_test_may_be_empty(tmp_path):
    write_tree(tmp_path, CODES, combos=COMBOS)
    tables.write(build(tmp_path), tmp_path / "out")
    assert len(manifest.read(tmp_path / "out/manifest_test.csv")) == 0


def test_a_row_has_the_fields_of_name_and_label(root):
    rows = samples(build(root))
    row = rows[rows["image_type"] == "single"].iloc[0]
    label = orjson.loads((root / row["label_path"]).read_bytes())
    image = label["images"][0]
    assert (root / row["image_path"]).is_file()
    assert [row[f"box_{side}"] for side in "xywh"] == label["annotations"][0]["bbox"]
    assert row["edi_codes"] == image["di_edi_code"].replace(",", "|")
    assert row["drug_name"] == image["dl_name"]
    assert (row["latitude"], row["longitude"]) == (image["camera_la"], image["camera_lo"])


def test_files_are_read_back_as_written(root, tmp_path):
    chosen = build(root)
    report = tables.write(chosen, tmp_path)
    classes = manifest.read_classes(tmp_path / "classes.csv")
    assert list(classes["mapping_code"]) == CODES
    assert classes["train_pills"].sum() + classes["val_pills"].sum() == (
        report["counts"]["train"]["known_pills"] + report["counts"]["val"]["known_pills"]
    )
    assert report == orjson.loads((tmp_path / "sampling.json").read_bytes())
    assert report["manifest_bytes"] == sum((tmp_path / name).stat().st_size for name in FILES[:3])


def written(root: Path, out: Path, an_order: Params | None = None) -> list[bytes]:
    tables.write(build(root, an_order), out)
    return [(out / name).read_bytes() for name in (*FILES, "sampling.json")]


def test_workers_and_a_linked_shard_do_not_change_the_bytes(root, tmp_path, monkeypatch):
    monkeypatch.setattr("pillsnap.aihub.reading.CHUNK", 50)
    monkeypatch.setattr(selection, "FEW", 0)
    label_path(root, Shot((CODES[0],), 0, 0, 0, 75)).write_bytes(b"{")
    one = written(root, tmp_path / "a", order())
    assert written(root, tmp_path / "b", order(num_workers=2)) == one
    with ThreadPoolExecutor(2) as threads:
        monkeypatch.setattr(engines, "_dask", lambda url: nullcontext((threads.submit, 2)))
        assert written(root, tmp_path / "d", order(engine="dask://host:1")) == one
    shard = root / "train/images/single/TS_1_single"
    shutil.move(shard, tmp_path / "elsewhere")
    shard.symlink_to(tmp_path / "elsewhere")
    assert written(root, tmp_path / "c") == one


def box(value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda label: label["annotations"][0].update(bbox=value)


def test_invalid_labels_are_replaced_and_counted(root):
    first = samples(build(root))
    victims = first[first["image_type"] == "single"]["label_path"].iloc[:5]
    for path in victims:
        edit_label(root / path, box([6567, 1, 20, 20]))
    chosen = build(root)
    rows = samples(chosen)
    assert len(rows) == 200
    assert not set(rows["label_path"]) & set(victims)
    assert chosen.left_out.counts == {"box_outside_frame": 5}
    assert chosen.findings.counts == {"box_outside_frame": 5}
    assert chosen.labels_read >= len(rows) + len(rows_of(chosen, 2)) + 5


def share_a_box(root: Path, shot: Shot) -> None:
    for code in shot.codes[:2]:
        edit_label(label_path(root, shot, code), box([1, 2, 30, 40]))


def disagree_on_size(root: Path, shot: Shot) -> None:
    edit_label(label_path(root, shot), lambda label: label["images"][0].update(width=4000))


def lose_a_label(root: Path, shot: Shot) -> None:
    label_path(root, shot).unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (share_a_box, "codes_share_a_box"),
        (disagree_on_size, "frame_sizes_differ"),
        (lose_a_label, "incomplete_combination"),
    ],
)
def test_a_combination_with_contradicting_or_missing_labels_is_left_out_whole(root, damage, reason):
    for latitude in (70, 75, 90):
        damage(root, Shot(COMBOS[0], latitude=latitude))
    chosen = build(root)
    assert chosen.left_out.counts == {reason: 3}
    assert not set(samples(chosen)["group_id"]) & {"K-000001-000002-000003"}


def test_a_code_without_enough_readable_labels_is_no_class(root):
    write_tree(root, ["K-000009"], combos=[])
    for path in (root / "train/labels/single/TL_1_single/K-000009_json").iterdir():
        path.write_bytes(b"?")
    assert set(samples(build(root))["mapping_code"]) >= set(CODES)
    with pytest.raises(DataError, match="8 of the"):
        build(root, order(classes=9))


def test_where_labels_differ_on_the_drug_the_most_frequent_text_is_taken(root):
    train = rows_of(build(root), 0)
    path = train[train["mapping_code"] == CODES[0]]["label_path"].iloc[0]
    edit_label(root / path, lambda label: label["images"][0].update(dl_name="다른 이름"))
    chosen = build(root)
    drugs = tables.drugs_of_classes(chosen)
    assert len(drugs[0]) == 2
    assert tables.classes_of(chosen, drugs)["drug_name"][0] == "시험정 1밀리그램"


def test_a_refusal_shows_findings_and_its_line_works_although_labels_are_invalid(root):
    for number, path in enumerate(sorted((root / "train/labels").rglob("*.json"))):
        if number % 3 == 0:
            path.write_bytes(b"{")
    photo_path(root, Shot((CODES[0],), 0, 0, 0, 75)).with_suffix(".txt").write_text("?")
    with pytest.raises(DataError) as refusal:
        build(root, order(samples=5000, classes=20))
    assert re.search(r"\n  label_not_json: \d+, e.g. train/labels/", refusal.value.fact)
    assert "\n  file_ignored: 1, e.g. train/images/" in refusal.value.fact
    found = re.findall(r"-S scales\.stage1\.(\w+)=(\S+)", refusal.value.cure)
    numbers = {key: float(value) if "share" in key else int(value) for key, value in found}
    assert len(samples(build(root, order(**numbers)))) == numbers["samples"]


def test_a_tree_without_labels_is_refused_without_counting_to_zero(tmp_path):
    write_tree(tmp_path, CODES)
    shutil.rmtree(tmp_path / "train/labels")
    with pytest.raises(DataError) as refusal:
        build(tmp_path)
    assert "train has no photo with a label" in refusal.value.fact
    assert "photo_without_label: 288, e.g. " in refusal.value.fact
    assert not re.search(r"\b0 of|at most 0", str(refusal.value))


def test_single_photos_of_known_codes_in_val_are_test_unless_their_group_is_in_train(root):
    write_shot(root, Shot((CODES[0],), part="val"))
    apart = Shot((CODES[0],), back=1, light=0, part="val")
    write_shot(root, apart)
    for latitude, longitude in VIEWS[:2]:  # the whole group in train
        same = Shot((CODES[0],), 1, 0, 0, latitude, longitude)
        photo_path(root, same).unlink()
        label_path(root, same).unlink()
    chosen = build(root)
    tested = chosen.candidates.photo_path
    paths = [tested(int(frame)) for frame in np.flatnonzero(chosen.choice.split == TEST)]
    assert [path for path in paths if CODES[0] in path and "combination" not in path] == [
        photo_path(root, apart).relative_to(root).as_posix()
    ]
    assert chosen.left_out.counts == {"known_single_in_val": 1}
    assert CODES[0] in chosen.left_out.examples["known_single_in_val"][0]
