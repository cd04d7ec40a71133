import json
from pathlib import Path

import pytest

from make import bad_files
from make.bad_files import BAD_FILES
from pillsnap.own_photos import gap as gaps

PIPELINE = {
    "single": {"frame_exact": 0.75, "pill_f1": 0.5},
    "test": {"frame_exact": 0.5, "pill_f1": 0.25},
    "test_single": {"frame_exact": None, "frame_exact_reason": "no such frame"},
}
PROVENANCE = {"classification_sha256": "abc"}


@pytest.fixture
def metrics(tmp_path) -> Path:
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps({"pipeline": PIPELINE, "provenance": PROVENANCE}))
    return path


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (
            {"single": {"frame_exact": 0.875}},
            [("pipeline.single.frame_exact of val: test has no such photos", 0.125, None)],
        ),
        (
            {"combination": {"frame_exact": 0.875, "pill_f1": 0.5}},
            [
                ("pipeline.test.frame_exact of test", 0.375, None),
                ("pipeline.test.pill_f1 of test", 0.25, None),
            ],
        ),
        (
            {"unknown": {"frame_exact": 0.5}},
            [("pipeline.test_single.frame_exact of test", None, "no such frame")],
        ),
        (
            {"single": {"frame_exact": None, "frame_exact_reason": "no pill found"}},
            [
                (
                    "pipeline.single.frame_exact of val: test has no such photos",
                    None,
                    "no pill found",
                )
            ],
        ),
        (
            {"combination": {"pill_recall": 0.5}},
            [("pipeline.test.pill_recall of test", None, "does not hold it")],
        ),
    ],
)
def test_each_metric_is_compared_with_its_like_or_has_a_reason(metrics, own, expected) -> None:
    rows = gaps.compare(own, metrics, "abc")
    assert [(row["compared_with"], row["gap"]) for row in rows] == [row[:2] for row in expected]
    for row, (_, gap, reason) in zip(rows, expected, strict=True):
        assert (reason is None) is (gap is not None)
        assert reason is None or row["reason"].endswith(reason)


def test_metrics_of_another_classifier_are_not_compared(metrics) -> None:
    [row] = gaps.compare({"single": {"frame_exact": 0.5}}, metrics, "another")
    assert (row["gap"], row["data_set"]) == (None, None)
    assert "another classifier: dvc repro evaluate" in row["reason"]


@pytest.mark.parametrize("form", BAD_FILES)
def test_without_metrics_the_reason_says_how_to_make_them(tmp_path, form: str) -> None:
    path = bad_files.put(form, tmp_path / "evaluation.json")
    [row] = gaps.compare({"single": {"frame_exact": 0.5}}, path, "abc")
    assert row["gap"] is None
    assert "dvc repro" in row["reason"]


def test_a_line_shows_both_values_and_what_was_compared(metrics) -> None:
    own = {"combination": {"pill_f1": 0.5}, "unknown": {"frame_exact": 0.5}}
    line, without = gaps.render(gaps.compare(own, metrics, "abc"))
    assert line == (
        "  pill_f1 of combination photos: 0.500, data set 0.250 "
        "(pipeline.test.pill_f1 of test), gap +0.250"
    )
    assert without.endswith("no gap: no such frame")
