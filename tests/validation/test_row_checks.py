"""Checks of the rows: each names the faulty row, and the others pass."""

import pandas as pd
import pytest

from make.photo_set import HEIGHT, WIDTH, PhotoSet
from pillsnap.dataset.findings import Findings
from pillsnap.validation import row_checks


@pytest.fixture
def valid(untouched: PhotoSet) -> pd.DataFrame:
    return untouched.rows.reset_index(drop=True)


def box(rows: pd.DataFrame, *values: int) -> None:
    rows.loc[0, ["box_x", "box_y", "box_w", "box_h"]] = values


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("image_type", "video"),
        ("mapping_code", "K-30"),
        ("image_path", "train/../../etc/passwd.png"),
        ("image_path", "/etc/passwd.png"),
        ("class_index", -1),  # of a known pill
        ("image_width", 0),
        ("group_id", ""),
    ],
)
def test_schema_names_the_row(valid, column, value):
    rows, findings = valid.copy(), Findings()
    rows.loc[0, column] = value
    row_checks.check_schema(rows, findings)
    assert findings.counts == {"schema": 1}
    [example] = findings.examples["schema"]
    assert example.startswith(f"{rows.loc[0, 'image_path']}: {column} ")
    in_two = Findings()
    row_checks.check_schema(pd.concat([valid, valid[:1].assign(split="val")]), in_two)
    assert in_two.counts == {"schema": 2}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("box_inside", (-1, 5, 20, 20)),
        ("box_inside", (5, -1, 20, 20)),
        ("box_inside", (WIDTH - 19, 5, 20, 20)),
        ("box_inside", (5, HEIGHT - 19, 20, 20)),
        ("box_inside", (6567, 8889, 20, 20)),
        ("box_positive", (5, 5, 0, 20)),
        ("box_positive", (5, 50, 20, -20)),
    ],
)
def test_bad_boxes_are_rejected(valid, name, values):
    rows, findings = valid.copy(), Findings()
    box(rows, *values)
    rejected = row_checks.check_boxes(rows, findings)
    box(rows, 0, 0, WIDTH, HEIGHT)  # touches the edges
    assert set(row_checks.check_boxes(rows, Findings())) == {""}
    assert findings.counts == {name: 1}
    assert findings.examples[name][0].startswith(f"{rows.loc[0, 'image_path']}: K-000001, box")
    assert list(rejected[rejected != ""].index) == [0]


def test_pills_listed_twice_and_boxes_shared_by_two_codes_are_rejected(valid):
    findings = Findings()
    rows = pd.concat([valid, valid[:1]], ignore_index=True)
    first = first_combination(rows)
    columns = ["box_x", "box_y", "box_w", "box_h"]
    rows.loc[first + 1, columns] = rows.loc[first, columns]
    rejected = row_checks.check_boxes(rows, findings)
    assert findings.counts == {"box_duplicated": 1, "box_shared": 2}
    assert list(rejected[rejected != ""].index) == [first, first + 1, len(valid)]


@pytest.mark.parametrize("size", [(2, 2), (WIDTH - 8, HEIGHT - 10)])
def test_an_unusual_area_is_reported(valid, size):
    rows, findings = valid.copy(), Findings()
    rows[["box_w", "box_h"]] = 20, 20
    box(rows, 8, 10, *size)
    unusual = row_checks.check_box_area(rows, findings)
    assert findings.counts == {"box_area": 1}
    assert list(unusual[unusual].index) == [0]


def renamed(rows: pd.DataFrame, at: int) -> pd.DataFrame:
    rows.loc[at, "mapping_code"] = "K-000777"
    return rows


def first_combination(rows: pd.DataFrame) -> int:
    return int(rows.index[rows["image_type"] == "combination"][0])


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (lambda t, at: t.drop(index=at), {"combination_incomplete": 1}),
        (lambda t, at: renamed(t, at), {"codes_in_name": 1, "combination_incomplete": 1}),
        (lambda t, at: pd.concat([t, t.loc[[at]].assign(box_x=0)]), {"codes_in_name": 1}),
        (lambda t, _: renamed(t, 0), {"codes_in_name": 1}),
    ],
)
def test_labels_are_compared_with_the_codes_in_the_name(valid, change, counts):
    findings = Findings()
    rows = change(valid.copy(), first_combination(valid)).reset_index(drop=True)
    extra_codes, incomplete = row_checks.check_names(rows, findings)
    assert findings.counts == counts
    assert len(extra_codes) == counts.get("codes_in_name", 0)
    assert len(incomplete) == counts.get("combination_incomplete", 0)


@pytest.mark.parametrize("image_type", ["single", "combination"])
@pytest.mark.parametrize("code", ["K-000001", "타이레놀 500mg"])
def test_names_of_other_photos_than_aihubs_are_not_compared(valid, image_type, code):
    rows = valid.assign(image_type=image_type, mapping_code=code, image_path="train/IMG_1.jpg")
    assert row_checks.check_names(rows, Findings()) == (set(), set())
