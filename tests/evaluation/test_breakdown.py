from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from make import made_answers as fake
from pillsnap.evaluation import breakdown, evaluate
from pillsnap.evaluation.answers import FrameSet
from pillsnap.params import load

CHECKS = {
    "near_duplicates_across_splits": 12, "duplicates_across_splits": 2, "group_leakage": 0,
}  # fmt: skip
VALIDATION = {
    "checks": [{"name": name, "count": count} for name, count in CHECKS.items()],
    "admitted": {"train": 900, "val": 30, "test": 10},
}


def test_conditions_agree_with_the_whole_and_confusions_are_counted_by_pair():
    answered = fake.answers(fake.muddled, fake.frames())
    measured = evaluate.measure(load(), answered, fake.fitted(answered.val), fake.class_table(), ())
    for title, rows in measured["by"].items():
        pills = sum(row["pills"] for row in rows)
        right = sum(row["top1"] * row["pills"] for row in rows)
        assert pills == len(answered.val), title
        assert right / pills == pytest.approx(measured["classification"]["top1"], abs=1e-9)
    truth, predicted = np.array([0, 0, 0, 1, 2]), np.array([1, 1, 0, 0, 2])
    pairs = breakdown.confusions(truth, predicted, np.array([0.2, 0.9, 1.0, 0.5, 1.0]))
    assert pairs.to_numpy().tolist() == [[0, 1, 2, 1], [1, 0, 1, 3]]


def test_per_class_metrics_are_scikit_learns_and_the_worst_are_those_with_errors():
    val = fake.crop_answers(fake.muddled, True, 1)
    predicted = val.logits.argmax(axis=1)
    table = breakdown.per_class(val.truth, predicted, fake.class_table())
    expected = f1_score(val.truth, predicted, average=None, labels=range(fake.CLASSES))
    assert table["f1"].to_numpy() == pytest.approx(expected, abs=1e-9)
    table["f1"] = [0.5, 1.0, np.nan, 0.2, *[1.0] * 6]
    rows = breakdown.worst(table, 5)
    assert [row["class"] for row in rows] == ["K-000003 가나정 3mg", "K-000000 가나정 0mg"]


def test_pills_of_measured_frames_have_their_outcome():
    val = fake.crop_answers(fake.oracle, True, 1)
    row = val.table.iloc[8]
    frame = fake.frame_answer(0, "single", [int(row["class_index"])], [int(row["class_index"])])
    box = np.array([[10, 20, 40, 60]], np.float32)
    frame = replace(frame, image_path=str(row["image_path"]), labelled=box, predicted=box)
    seen = breakdown.outcomes(val, FrameSet([frame]), fake.class_table())
    assert (seen["found"].sum(), seen["right"].sum(), seen["found"].notna().sum()) == (1, 1, 1)


def test_near_duplicates_are_a_share_of_val_and_test_or_none_with_a_reason():
    section = breakdown.split_overlap(VALIDATION)
    assert section["near_duplicate_share"] == pytest.approx(12 / 40, abs=1e-12)
    assert (section["exact_duplicates_refused"], section["torn_groups"]) == (2, 0)
    for report in ({}, {**VALIDATION, "admitted": {"train": 900}}):
        section = breakdown.split_overlap(report)
        assert section["near_duplicate_share"] is None
        assert "validation.json" in section["near_duplicate_share_reason"]
