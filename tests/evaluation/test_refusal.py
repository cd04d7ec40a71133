from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from make import made_answers as fake
from pillsnap import files
from pillsnap.evaluation import evaluate, fit, refusal
from pillsnap.evaluation.answers import CropAnswers, FrameSet
from pillsnap.params import load

HELD_OUT = {"K-000503", "K-000507"}


def measured(model, known: bool = True, unknown: bool = True) -> dict:
    """The section with or without pills of either kind."""
    val, test = fake.crop_answers(model, True, 1), fake.crop_answers(model, False, 2)
    pills = (val.known(known), test if unknown else val.known(False), val.known(False))
    return refusal.unknown_pills(*pills, fake.fitted(val), fake.class_table())


def auroc_of(known: np.ndarray, unknown: np.ndarray) -> float:
    return roc_auc_score(np.arange(len(known) + len(unknown)) < len(known), np.r_[known, unknown])


def test_an_oracle_accepts_no_unknown_pill_and_a_guesser_cannot_tell_them():
    section = measured(fake.oracle)
    assert (section["auroc"], section["fpr_at_95_recall"]) == (1.0, 0.0)
    assert section["ci"]["auroc"].low == pytest.approx(0.05 ** (1 / 10))
    assert "left_out_classes" in section["held_out"]["auroc_reason"]
    assert measured(fake.guesser)["auroc"] == pytest.approx(0.5, abs=0.08)


def test_the_codes_are_the_unit_and_the_hardest_is_first():
    section = measured(fake.muddled)
    rows = section["by_code"]
    assert [row["auroc"] for row in rows] == sorted(row["auroc"] for row in rows)
    assert {row["pills"] for row in rows} == {fake.PER_CLASS}
    assert np.mean([row["auroc"] for row in rows]) == pytest.approx(section["auroc"])
    assert section["codes"] == section["ci"]["auroc"].groups == len(rows) == 10
    assert all(row["taken_for"] in set(fake.class_table()["mapping_code"]) for row in rows)


def test_without_pills_of_a_kind_there_is_a_reason():
    reasons = {"known": "no known pill in val's single", "unknown": "no unknown pill in test"}
    for kind, why in reasons.items():
        section = measured(fake.oracle, **{kind: False})
        assert section["auroc"] is section["ci"]["auroc"] is None
        assert why in section["auroc_reason"]


def test_held_out_classes_are_measured_apart_from_other_unknown_codes():
    answered = fake.answers(fake.muddled, fake.frames())
    made = fake.fitted(answered.val)
    section = evaluate.measure(load(), answered, made, fake.class_table(), HELD_OUT)["unknown"]
    own = answered.test.table["mapping_code"].isin(HELD_OUT).to_numpy()
    score = made.refusal_score(answered.test)
    known = made.refusal_score(answered.val.of_type("single"))
    for part, pills in ((section["held_out"], own), (section, ~own)):
        assert part["auroc"] == pytest.approx(auroc_of(known, score[pills]), abs=1e-9)
        assert part["accepted"] == pytest.approx(np.mean(score[pills] >= made.threshold))
        assert part["pills"] == int(pills.sum())
    spare = [share["accepted"] - 0.95 for share in section["known"].values()]
    assert min(spare) == pytest.approx(0, abs=1 / len(answered.val))
    assert all(share > -1e-9 for share in spare)
    assert section["held_out"]["codes"] == 2


def test_each_threshold_has_its_shares_on_test_and_a_missing_one_its_reason():
    answered = fake.answers(fake.muddled, fake.frames())
    made = fake.fitted(answered.val)
    rows = evaluate.measure(load(), answered, made, fake.class_table(), ())["operating_points"]
    assert [row["known_recall"] for row in rows] == [*fit.RECALLS]
    fitted, missing = rows[: len(made.operating_points)], rows[len(made.operating_points) :]
    test = answered.test.known(False)
    score = made.refusal_score(test)
    for row, point in zip(fitted, made.operating_points, strict=True):
        assert row["unknown_accepted"] == pytest.approx(np.mean(score >= point.threshold))
        assert row["val_single_accepted"] >= point.known_recall - 1e-9
        assert row["ci"]["unknown_accepted"].groups == test.table["mapping_code"].nunique()
    assert fitted[0]["unknown_accepted"] < fitted[-1]["unknown_accepted"]
    assert missing and all(row["threshold"] is None for row in missing)
    assert all("fewer known pills" in row["threshold_reason"] for row in missing)


@pytest.mark.parametrize(("model", "names"), [(fake.oracle, (1, 1)), (fake.guesser, (5, 10))])
def test_coverage_and_size_of_sets_of_many_groups_and_none_of_a_single_one(model, names):
    answers = fake.crop_answers(model, True, 3)
    section = refusal.sets(answers, fake.fitted(answers), 0.05, 17)
    assert section["coverage"] >= 0.9
    assert names[0] <= section["names_per_pill"] <= names[1]
    pills = sum(section[kind]["pills"] for kind in ("single", "combination"))
    assert pills == section["pills"] > 0
    assert section["ci"]["coverage"].low < section["coverage"]
    one = answers.where(answers.groups == answers.groups[0])
    section = refusal.sets(one, fake.fitted(answers), 0.05, 17)
    assert section["coverage"] is None
    assert "two capture groups" in section["coverage_reason"]


def test_photos_under_another_light_are_measured_apart_and_count_nowhere_else():
    answered = fake.answers(fake.muddled, fake.frames())
    shown = fake.crop_answers(fake.muddled, True, 3)
    lit = shown.table.assign(light=7, image_path=[f"phone/{row}" for row in range(len(shown))])
    both = (
        np.concatenate([answered.test.logits, shown.logits]),
        np.concatenate([answered.test.embeddings, shown.embeddings]),
    )
    tests = CropAnswers(*both, pd.concat([answered.test.table, lit], ignore_index=True))
    phone = replace(fake.frame_answer(0, "single", [3], [3]), image_path="phone/120")
    frames = FrameSet([*answered.test_frames.frames, phone])
    mixed = replace(answered, test=tests, test_frames=frames)
    rest = (fake.fitted(answered.val), fake.class_table(), ())
    plain, found = (evaluate.measure(load(), one, *rest) for one in (answered, mixed))
    new = found.pop("new_conditions")
    assert new["pills"] == fake.CLASSES * fake.PER_CLASS
    assert new["top1"] == pytest.approx((shown.logits.argmax(axis=1) == shown.truth).mean())
    assert new["pipeline"]["frames"] == new["detection"]["boxes"] == 1
    assert new["pipeline"]["pill_f1"] == 1
    assert 0 < new["known"]["accepted"] < new["sets"]["coverage"] <= 1
    assert new["unknown"]["accepted"] is None
    none = plain.pop("new_conditions")
    assert none["top1"] is none["sets"]["coverage"] is none["detection"]["map50"] is None
    assert files.json_bytes(found) == files.json_bytes(plain)
