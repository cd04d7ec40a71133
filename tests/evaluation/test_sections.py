import json

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from make.made_answers import (
    CLASSES,
    OPTIONS,
    answers,
    class_table,
    crop_answers,
    fitted,
    frame_answer,
    frames,
    guesser,
    muddled,
    oracle,
    parrot,
)
from pillsnap.evaluation import breakdown, evaluate, metrics, outputs, sections
from pillsnap.params import Params, load


def classification(model) -> dict:
    val = crop_answers(model, True, 1)
    return sections.classification(val, fitted(val), 50, 0)


def test_an_oracle_is_right_everywhere() -> None:
    section = classification(oracle)
    assert section["top1"] == section["top5"] == section["macro_f1"] == 1.0
    assert section["ece"] < 1e-6
    assert section["ci"]["top1"] == (1.0, 1.0)


def test_a_guesser_is_right_one_time_in_ten() -> None:
    section = classification(guesser)
    assert section["top1"] == pytest.approx(1 / CLASSES, abs=0.05)
    assert section["top5"] == pytest.approx(5 / CLASSES, abs=0.08)
    low, high = section["ci"]["top1"]
    assert low <= section["top1"] <= high


def test_a_guessers_confidence_is_scaled_down_to_its_accuracy() -> None:
    section = classification(guesser)
    assert section["ece"] < 0.05 < section["ece_uncalibrated"]


def test_a_parrot_is_right_for_its_one_class() -> None:
    section = classification(parrot)
    assert section["top1"] == 1 / CLASSES
    assert section["macro_f1"] == pytest.approx((2 * 0.1 / 1.1) / CLASSES, abs=1e-12)


def test_each_kind_of_frame_has_its_own_top1() -> None:
    section = classification(muddled)
    pills = section["single"]["pills"], section["combination"]["pills"]
    weighted = sum(
        section[kind]["top1"] * section[kind]["pills"] for kind in ("single", "combination")
    )
    assert weighted / sum(pills) == pytest.approx(section["top1"], abs=1e-12)


def test_a_kind_without_pills_is_none_with_its_reason() -> None:
    val = crop_answers(oracle, True, 1).of_type("single")
    section = sections.classification(val, fitted(val), 50, 0)
    assert section["combination"]["top1"] is None
    assert section["combination"]["top1_reason"] == "no known pill in combination frames"


def test_classification_recomputed_by_scikit_learn() -> None:
    val = crop_answers(muddled, True, 1)
    section = classification(muddled)
    named = val.logits.argmax(axis=1)
    assert section["top1"] == pytest.approx((named == val.truth).mean(), abs=1e-9)
    expected = f1_score(val.truth, named, average="macro")
    assert section["macro_f1"] == pytest.approx(expected, abs=1e-9)


def test_an_oracle_finds_and_names_everything_and_refuses_the_unknown() -> None:
    section = sections.pipeline(frames(), OPTIONS, 0)
    for name in ("pill_precision", "pill_recall", "pill_f1", "frame_exact", "map50"):
        assert section[name] == pytest.approx(1.0), name
    assert sum(section["errors"].values()) == 0
    assert (section["frames"], section["pills"]) == (12, 30)


def test_right_boxes_with_wrong_names_are_found_but_never_right() -> None:
    section = sections.pipeline(frames(right=False), OPTIONS, 0)
    assert section["pill_f1"] == section["frame_exact"] == 0.0
    assert section["errors"]["wrong_name"] == 24
    assert section["errors"]["unknown_taken_for_known"] == 6
    assert sections.detection(frames(right=False), OPTIONS, 0)["map50"] == pytest.approx(1.0)


def test_a_detector_that_returns_nothing_recalls_0_and_has_no_precision() -> None:
    empty = frames(found=False)
    section = sections.pipeline(empty, OPTIONS, 0)
    assert section["pill_recall"] == section["pill_f1"] == section["frame_exact"] == 0.0
    assert section["pill_precision"] is None
    assert section["pill_precision_reason"] == "no pill found"
    assert section["errors"]["missed"] == 30
    found = sections.detection(empty, OPTIONS, 0)
    assert (found["map50"], found["recall"], found["precision"]) == (0.0, 0.0, None)


def test_boxes_beside_the_pills_are_false_and_the_pills_missed() -> None:
    shifted = [frame_answer(i, "single", [i], [i], shift_px=70) for i in range(3)]
    section = sections.pipeline_of(shifted, OPTIONS, 0)
    assert section["errors"]["false_box"] == section["errors"]["missed"] == 3
    assert section["pill_f1"] == 0.0


def test_no_frames_give_reasons_and_no_figures() -> None:
    section = sections.pipeline([], OPTIONS, 0)
    for name in ("pill_f1", "frame_exact", "ms_per_frame_p50"):
        assert section[name] is None
        assert section[f"{name}_reason"]
    assert sections.detection([], OPTIONS, 0)["map50"] is None


def test_pill_figures_recomputed_from_counts() -> None:
    some = [
        frame_answer(0, "single", [1], [1]),
        frame_answer(1, "single", [2], [3]),
        frame_answer(2, "combination", [1, 2], [1, 2, 4]),
        frame_answer(3, "combination", [1, -1], [-1]),
    ]
    section = sections.pipeline(some, OPTIONS, 0)
    assert section["pill_precision"] == 3 / 6
    assert section["pill_recall"] == 3 / 6
    assert section["name_precision"] == 3 / 5
    assert section["frame_exact"] == 1 / 4
    assert section["errors"]["known_refused"] == 1
    assert section["errors"]["false_box"] == 1
    assert section["errors"]["missed"] == 1


def test_precision_and_recall_count_boxes_at_the_operating_point_only() -> None:
    frame = frame_answer(0, "single", [1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    unsure = np.array([0.9, 0.8, 0.3, 0.2, 0.1])
    frame = type(frame)(**{**frame.__dict__, "found_score": unsure})
    section = sections.detection([frame], OPTIONS, 0)
    assert (section["recall"], section["precision"]) == (3 / 5, 1.0)
    assert section["map50"] == pytest.approx(1.0)


def test_unknown_pills_recomputed_by_scikit_learn() -> None:
    known, strange = crop_answers(muddled, True, 1), crop_answers(muddled, False, 2)
    made = fitted(known)
    section = sections.unknown(known, strange, known.known(False), made, 50, 0)
    scores = [made.refusal_score(a.outputs) for a in (known, strange)]
    labels = np.r_[np.ones(len(known)), np.zeros(len(strange))]
    assert section["auroc"] == pytest.approx(
        roc_auc_score(labels, np.concatenate(scores)), abs=1e-9
    )
    assert section["known_accepted"] == pytest.approx(0.95)
    assert section["unknown_accepted"] == pytest.approx(section["fpr_at_95_recall"], abs=1e-12)


def test_an_oracle_lets_no_unknown_pill_through() -> None:
    known, strange = crop_answers(oracle, True, 1), crop_answers(oracle, False, 2)
    section = sections.unknown(known, strange, known.known(False), fitted(known), 50, 0)
    assert (section["auroc"], section["fpr_at_95_recall"]) == (1.0, 0.0)


def test_a_guesser_cannot_tell_unknown_pills() -> None:
    known, strange = crop_answers(guesser, True, 1), crop_answers(guesser, False, 2)
    section = sections.unknown(known, strange, known.known(False), fitted(known), 50, 0)
    assert section["auroc"] == pytest.approx(0.5, abs=0.08)


def test_without_unknown_pills_there_is_a_reason() -> None:
    known = crop_answers(oracle, True, 1)
    nobody = known.known(False)
    section = sections.unknown(known, nobody, nobody, fitted(known), 50, 0)
    assert section["auroc"] is None
    assert section["pills"] == 0
    assert "no unknown pill" in section["auroc_reason"]


def options() -> Params:
    return load().model_copy(update={"evaluate": OPTIONS})


@pytest.mark.parametrize("model", [oracle, guesser, parrot, muddled])
@pytest.mark.parametrize("found", [True, False])
def test_everything_is_measured_and_can_be_written_as_json(model, found) -> None:
    answered = answers(model, frames(found=found))
    made = fitted(answered.val)
    measured = evaluate.measure(options(), answered, made, class_table(), ())
    assert json.dumps(measured, allow_nan=False)
    plots = outputs.plots(answered, made, class_table(), 5)
    assert json.dumps(plots, allow_nan=False)
    assert len(plots["worst_classes"]) == 5
    assert len(plots["pr_curve"]) == 101


def test_a_goal_is_met_missed_or_without_a_value() -> None:
    answered = answers(oracle, frames())
    measured = evaluate.measure(options(), answered, fitted(answered.val), class_table(), ())
    measured["training"] = {"total_minutes": None}
    found = evaluate.targets(options(), measured)
    assert found["classification_top1"]["met"] is True
    assert found["training_minutes"]["met"] is None
    measured["classification"]["top1"] = 0.5
    assert evaluate.targets(options(), measured)["classification_top1"]["met"] is False


def test_the_facets_hold_every_known_pill_and_agree_with_the_whole() -> None:
    answered = answers(muddled, frames())
    measured = evaluate.measure(options(), answered, fitted(answered.val), class_table(), ())
    for title, rows in measured["by"].items():
        pills = sum(row["pills"] for row in rows)
        right = sum(row["top1"] * row["pills"] for row in rows)
        assert pills == len(answered.val), title
        assert right / pills == pytest.approx(measured["classification"]["top1"], abs=1e-9)


def test_confusions_are_counted_by_pair_with_the_surest_pill() -> None:
    truth, named = np.array([0, 0, 0, 1, 2]), np.array([1, 1, 0, 0, 2])
    pairs = breakdown.confusions(truth, named, np.array([0.2, 0.9, 1.0, 0.5, 1.0]))
    assert [(p.true, p.named, p.count, p.row) for p in pairs] == [(0, 1, 2, 1), (1, 0, 1, 3)]


def test_per_class_figures_recomputed_by_scikit_learn() -> None:
    val = crop_answers(muddled, True, 1)
    named = val.logits.argmax(axis=1)
    table = breakdown.per_class(val.truth, named, class_table())
    expected = f1_score(val.truth, named, average=None, labels=range(CLASSES))
    assert table["f1"].to_numpy() == pytest.approx(expected, abs=1e-9)
    assert metrics.macro_f1(named, val.truth) == pytest.approx(table["f1"].mean(), abs=1e-9)


def test_pills_of_measured_frames_know_whether_they_were_found_and_right() -> None:
    val = crop_answers(oracle, True, 1)
    row = val.table.iloc[8]
    frame = frame_answer(0, "single", [int(row["class_index"])], [int(row["class_index"])])
    box = np.array([[10, 20, 40, 60]], np.float32)
    path = str(row["image_path"])
    frame = type(frame)(**{**frame.__dict__, "image_path": path, "labelled": box, "named": box})
    seen = breakdown.pills_seen(val, [frame], 0.5, class_table())
    assert (seen["found"].sum(), seen["right"].sum(), seen["found"].notna().sum()) == (1, 1, 1)


def test_every_plot_has_the_row_for_nothing_with_its_own_columns() -> None:
    answered = answers(muddled, frames())
    plots = outputs.plots(answered, fitted(answered.val), class_table(), 5)
    columns = {name: set(rows[0]) for name, rows in plots.items()}
    assert columns == {name: set(row) for name, row in outputs.NOTHING.items()}


def test_left_out_codes_are_measured_apart_from_the_other_unknown_pills() -> None:
    answered = answers(muddled, frames())
    made, out = fitted(answered.val), {"K-000503", "K-000507"}
    section = evaluate.measure(options(), answered, made, class_table(), out)["unknown"]
    codes = answered.test.table["mapping_code"]
    scores = made.refusal_score(answered.test.outputs)
    known = made.refusal_score(answered.val.outputs)
    for part, own in ((section["left_out"], codes.isin(out)), (section, ~codes.isin(out))):
        values = scores[own.to_numpy()]
        labels = np.r_[np.ones(len(known)), np.zeros(len(values))]
        assert part["auroc"] == pytest.approx(roc_auc_score(labels, np.r_[known, values]), abs=1e-9)
        assert part["pills"] == int(own.sum())
    assert section["left_out"]["codes"] == 2


def test_without_left_out_codes_there_is_a_reason() -> None:
    answered = answers(muddled, frames())
    made = fitted(answered.val)
    section = evaluate.measure(options(), answered, made, class_table(), ())["unknown"]
    assert section["left_out"]["auroc"] is None
    assert "left_out_classes" in section["left_out"]["auroc_reason"]
