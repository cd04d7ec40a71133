import json
from pathlib import Path

import pytest

from pillsnap.own_photos import gap as field_gap

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


def only(own, path) -> dict:
    [row] = field_gap.compare(own, path, "abc")
    return row


@pytest.mark.parametrize(
    ("kind", "compared_with", "gap"),
    [
        ("single", "pipeline.single.frame_exact of val: test has no such photos", 0.125),
        ("combination", "pipeline.test.frame_exact of test", 0.375),
    ],
)
def test_each_kind_is_compared_with_its_like_from_test_where_there_is_one(
    metrics, kind: str, compared_with: str, gap: float
) -> None:
    row = only({kind: {"frame_exact": 0.875}}, metrics)
    assert (row["compared_with"], row["gap"]) == (compared_with, gap)


def test_only_figures_that_were_measured_have_a_row(metrics) -> None:
    rows = field_gap.compare({"single": {"frame_exact": 1.0, "pill_f1": 1.0}}, metrics, "abc")
    assert [(row["figure"], row["gap"]) for row in rows] == [
        ("frame_exact", 0.25),
        ("pill_f1", 0.5),
    ]


def test_a_figure_the_data_set_could_not_compute_gives_its_reason_and_no_gap(metrics) -> None:
    row = only({"unknown": {"frame_exact": 0.5}}, metrics)
    assert (row["gap"], row["reason"]) == (None, "no such frame")


def test_a_part_the_data_set_does_not_have_is_said(metrics) -> None:
    metrics.write_text(json.dumps({"pipeline": {}, "provenance": PROVENANCE}))
    row = only({"combination": {"frame_exact": 0.5}}, metrics)
    assert (row["gap"], row["data_set"]) == (None, None)
    assert row["reason"] == f"{metrics} does not hold it"


def test_figures_of_another_classifier_are_not_compared_with(metrics) -> None:
    [row] = field_gap.compare({"single": {"frame_exact": 0.5}}, metrics, "another")
    assert (row["gap"], row["data_set"]) == (None, None)
    assert "another classifier: dvc repro evaluate" in row["reason"]


def test_an_own_figure_that_could_not_be_computed_gives_its_reason_and_no_gap(metrics) -> None:
    own = {"frame_exact": None, "frame_exact_reason": "no pill found"}
    row = only({"single": own}, metrics)
    assert (row["gap"], row["reason"]) == (None, "no pill found")


@pytest.mark.parametrize("content", [None, "{", '{"other": 1}', "[]"])
def test_without_figures_it_says_how_to_make_them(tmp_path, content: str | None) -> None:
    path = tmp_path / "evaluation.json"
    if content is not None:
        path.write_text(content)
    row = only({"single": {"frame_exact": 0.5}}, path)
    assert row["gap"] is None
    assert "dvc repro" in row["reason"]


def test_the_screen_names_both_figures_and_what_was_compared(metrics) -> None:
    [line] = field_gap.render(field_gap.compare({"combination": {"pill_f1": 0.5}}, metrics, "abc"))
    assert line == (
        "  pill_f1 of combination photos: 0.500, the data set's 0.250 "
        "(pipeline.test.pill_f1 of test), gap +0.250"
    )


def test_the_screen_says_why_there_is_no_gap(metrics) -> None:
    [line] = field_gap.render(field_gap.compare({"unknown": {"frame_exact": 0.5}}, metrics, "abc"))
    assert line.endswith("no gap: no such frame")
