"""The table of checks, the verdict from the rows only, and the consequences of a rejected row."""

import pandas as pd

from make.photo_set import CODES, PhotoSet
from pillsnap.dataset.findings import Findings
from pillsnap.validation import check_table, checks
from pillsnap.validation.checks import EXAMPLES_SHOWN, CheckedRows


def run(photos: PhotoSet) -> CheckedRows:
    classes = pd.DataFrame({"mapping_code": CODES, "class_index": range(len(CODES))})
    return checks.run(photos.rows, classes, photos.places.root, photos.params.at_scale)


def test_valid_rows_pass_and_no_photo_is_opened(photos):
    for path in photos.places.root.rglob("*.png"):
        path.unlink()
    verdict = run(photos)
    assert verdict.findings.counts == {}
    assert len(verdict.admitted) == len(photos.rows)


def test_a_rejected_pill_makes_its_photo_partly_labelled_and_few_photos_are_shown(photos):
    path = photos.photo("train", "combination")
    pills = photos.rows.index[photos.rows["image_path"] == path]
    photos.rows["box_x"] = -1
    photos.rows.loc[pills, "box_x"] = 5
    photos.rows.loc[pills[0], "box_w"] = 0
    verdict = run(photos)
    assert list(verdict.rows.index[verdict.rows["rejected"] == "box_positive"]) == [pills[0]]
    assert path in verdict.partly_labelled
    assert verdict.shown["box_positive"] == (path,)
    assert len(verdict.shown["box_inside"]) == EXAMPLES_SHOWN


def test_an_error_fails_a_refusal_warns_and_what_was_not_run_does_not_pass():
    names = list(check_table.checks())
    for found, wanted in (
        (["group_leakage", "photo_damaged"], {"group_leakage": "fail", "photo_damaged": "warn"}),
        (["schema"], {**dict.fromkeys(names, "warn"), "schema": "fail"}),
    ):
        findings = Findings()
        for name in found:
            findings.add(name, "a.png")
        status = {str(one["name"]): str(one["status"]) for one in check_table.results(findings)}
        assert status == {**dict.fromkeys(names, "pass"), **wanted}
        assert list(check_table.failed(findings)) == found[:1]
