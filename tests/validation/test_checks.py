"""The verdict from the rows only, and the consequences of a rejected row."""

from pathlib import Path

import pandas as pd
import pytest

from make.photo_set import CODES, PhotoSet, make
from pillsnap.dataset import manifest
from pillsnap.validation import checks
from pillsnap.validation.checks import EXAMPLES_SHOWN, CheckedRows


@pytest.fixture
def photos(tmp_path: Path) -> PhotoSet:
    return make(tmp_path)


def run(photos: PhotoSet) -> CheckedRows:
    classes = pd.DataFrame({"mapping_code": CODES, "class_index": range(len(CODES))})
    return checks.run(photos.rows, classes, photos.places.root, photos.settings.scale)


def test_rows_are_checked_without_opening_a_photo(photos: PhotoSet) -> None:
    for path in photos.places.root.rglob("*.png"):
        path.unlink()
    verdict = run(photos)
    assert verdict.findings.counts == {}
    assert len(verdict.admitted) == len(photos.rows)


def test_a_rejected_pill_makes_its_photo_partly_labelled_and_shown(photos: PhotoSet) -> None:
    path = photos.photo("train", "combination")
    pills = photos.rows.index[photos.rows["image_path"] == path]
    photos.rows.loc[pills[0], "box_w"] = 0
    verdict = run(photos)
    assert list(verdict.rows.index[verdict.rows["rejected"] == "box_positive"]) == [pills[0]]
    assert verdict.partly_labelled == {path}
    assert verdict.shown["box_positive"] == (path,)


def test_a_check_shows_few_photos(photos: PhotoSet) -> None:
    photos.rows["box_x"] = -1
    assert len(run(photos).shown["box_inside"]) == EXAMPLES_SHOWN


def test_an_invalid_schema_stops_the_other_checks(photos: PhotoSet) -> None:
    photos.rows.loc[0, ["group_id", "box_w"]] = "", 0
    verdict = run(photos)
    assert set(verdict.findings.counts) == {"schema"}
    assert set(manifest.COLUMNS) <= set(verdict.rows.columns)
