"""Checks across splits: leakage, duplicates, classes and counts."""

import numpy as np
import pandas as pd
import pytest

from make.photo_set import CODES, PhotoSet
from pillsnap.dataset.findings import Findings
from pillsnap.validation import split_checks


@pytest.fixture
def rows(untouched: PhotoSet) -> pd.DataFrame:
    return untouched.rows.copy()


@pytest.fixture
def classes() -> pd.DataFrame:
    return pd.DataFrame({"mapping_code": CODES, "class_index": range(len(CODES))})


def test_wrong_classes_split_groups_and_trained_unknowns_are_named(rows, classes):
    findings = Findings()
    first, val = rows.loc[0], rows[rows["split"] == "val"].iloc[0]
    for index in (1, 7, -1):
        split_checks.check_classes(
            rows.assign(class_index=[index, *rows["class_index"][1:]]), classes, findings
        )
    rows.loc[val.name, "group_id"] = first["group_id"]
    split_checks.check_groups(rows, findings)
    rows.loc[rows["mapping_code"] == "K-000009", "mapping_code"] = "K-000002"
    split_checks.check_unknown(rows, findings)
    assert findings.counts == {"class_index": 3, "group_leakage": 1, "unknown_overlap": 1}
    examples = {name: found[0] for name, found in findings.examples.items()}
    assert first["image_path"] in examples["class_index"]
    assert examples["group_leakage"].endswith(f"{first['image_path']} and {val['image_path']}")
    assert examples["unknown_overlap"].startswith("K-000002: val/images/single")


@pytest.mark.parametrize(
    ("key", "value", "check"),
    [
        ("samples", 500, "sample_count"),
        ("classes", 4, "class_count"),
        ("combination_share", 0.9, "combination_share"),
        ("val_share", 0.6, "val_share"),
        ("min_train_per_class", 9, "class_minimum"),
        ("min_val_per_class", 9, "class_minimum"),
    ],
)
def test_counts_that_differ_from_the_parameters_are_named(
    untouched, rows, classes, key, value, check
):
    findings = Findings()
    scale = untouched.params.at_scale.model_copy(update={key: value})
    split_checks.check_counts(rows, classes, scale, findings)
    assert set(findings.counts) == {check}


def test_as_many_pills_as_were_corrected_may_be_missing(untouched, rows, classes):
    scale = untouched.params.at_scale
    scale = scale.model_copy(update={"samples": scale.samples + 9})
    for corrected, found in ((8, {"sample_count"}), (9, set())):
        findings = Findings()
        split_checks.check_counts(rows, classes, scale, findings, corrected)
        assert set(findings.counts) == found


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_class_without_enough_pills_in_a_split_is_named(untouched, rows, classes, split):
    for kept, name in ((0, "class_parity"), (1, "class_thinned")):
        findings = Findings()
        of_code = rows.index[(rows["mapping_code"] == CODES[1]) & (rows["split"] == split)]
        fewer = rows.drop(index=of_code[kept:])
        split_checks.check_parity(fewer, classes, untouched.params.at_scale, findings)
        assert findings.examples == {name: [f"K-000002: {kept} of 2 in {split}"]}


def frames(*photos: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(photos, columns=["split", "image_path", "pixel_hash"])


def test_photos_that_an_earlier_split_has_are_rejected_repetitions_are_reported():
    findings = Findings()
    rejected = split_checks.check_duplicates(
        frames(("val", "a", "1"), ("train", "b", "1"), ("test", "c", "2"), ("train", "d", "1")),
        findings,
    )
    assert rejected == {"a": "same pixels as b (train)"}
    assert findings.counts == {"duplicates_across_splits": 1, "duplicates": 1}
    assert findings.examples["duplicates"] == ["d (train): same pixels as b (train)"]


def pills(*hashes: tuple[str, str, int]) -> pd.DataFrame:
    table = pd.DataFrame(hashes, columns=["split", "mapping_code", "perceptual_hash"])
    return table.assign(image_path=[f"{i}.png" for i in range(len(table))])


def test_near_duplicates_are_reported_with_their_distance():
    findings = Findings()
    found = split_checks.check_near_duplicates(
        pills(("train", "K", 0b1111), ("val", "K", 0b0011), ("test", "K", 0b0)), 3, findings
    )
    assert found == [(2, 1, 0)]
    assert findings.examples == {
        "near_duplicates_across_splits": ["1.png (val): 2 bits from 0.png (train)"]
    }


def test_near_duplicates_agree_with_a_plain_search():
    chance = np.random.default_rng(0)
    count = 300
    hashes = (int(value) for value in chance.integers(0, 2**64, count, dtype=np.uint64))
    splits, codes = chance.choice(["train", "val", "test"], count), chance.choice(["K", "L"], count)
    table = pills(*zip(splits, codes, hashes, strict=True))
    found = split_checks.check_near_duplicates(table, 22, Findings())
    expected = []
    rows = list(table.itertuples())
    for row in rows:
        near = [t for t in rows if t.split == "train" and t.mapping_code == row.mapping_code]
        nearest = min(near, key=lambda t: (t.perceptual_hash ^ row.perceptual_hash).bit_count())
        bits = (nearest.perceptual_hash ^ row.perceptual_hash).bit_count()
        if row.split != "train" and bits <= 22:
            expected.append((bits, row.Index, nearest.Index))
    assert found == sorted(expected)
    assert len(expected) > 10
