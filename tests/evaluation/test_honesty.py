import pytest

from pillsnap.evaluation import honesty

VALIDATION = {
    "checks": [
        {"name": "near_duplicates_across_splits", "count": 12},
        {"name": "duplicates_across_splits", "count": 2},
        {"name": "group_leakage", "count": 0},
    ],
    "admitted": {"train": 900, "val": 30, "test": 10},
}


def test_the_near_duplicates_are_a_share_of_val_and_test() -> None:
    section = honesty.of_splits(VALIDATION)
    assert section["near_duplicate_share"] == pytest.approx(12 / 40, abs=1e-12)
    assert (section["exact_duplicates_refused"], section["torn_groups"]) == (2, 0)


def test_without_a_report_every_figure_is_none_with_a_reason() -> None:
    section = honesty.of_splits({})
    assert section["near_duplicate_share"] is None
    assert "validation.json" in section["near_duplicate_share_reason"]
    assert "validation.json" in section["torn_groups_reason"]


def test_no_pill_to_measure_on_is_no_share() -> None:
    section = honesty.of_splits({**VALIDATION, "admitted": {"train": 900}})
    assert section["near_duplicate_share"] is None


def test_a_sampling_report_of_an_older_version_left_no_code_out() -> None:
    assert honesty.left_out_codes({}) == frozenset()


def test_a_report_that_is_not_there_is_empty(tmp_path) -> None:
    assert honesty.read(tmp_path / "validation.json") == {}
