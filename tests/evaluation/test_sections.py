from dataclasses import replace

import numpy as np
import pytest

from make import made_answers as fake
from pillsnap.evaluation import sections
from pillsnap.evaluation.answers import FrameSet
from pillsnap.evaluation.intervals import Interval


def classification(model) -> dict:
    val = fake.crop_answers(model, True, 1)
    return sections.classification(val, fake.fitted(val), 50, 0)


def test_an_oracle_is_right_everywhere_and_a_parrot_for_one_class():
    parroted = classification(fake.parrot)
    assert parroted["top1"] == 1 / fake.CLASSES
    assert parroted["macro_f1"] == pytest.approx((2 * 0.1 / 1.1) / fake.CLASSES, abs=1e-12)
    section = classification(fake.oracle)
    assert section["top1"] == section["top5"] == section["macro_f1"] == 1.0
    assert section["ece"] < 1e-6
    assert section["ci"]["top1"] == Interval(0.05 ** (1 / 100), 1.0, 100)


def test_a_guesser_is_right_one_time_in_ten_and_its_confidence_is_scaled_down_to_that():
    section = classification(fake.guesser)
    assert section["top1"] == pytest.approx(1 / fake.CLASSES, abs=0.05)
    assert section["top5"] == pytest.approx(5 / fake.CLASSES, abs=0.08)
    assert section["ci"]["top1"].low < section["top1"] < section["ci"]["top1"].high
    assert section["ece"] < 0.05 < section["ece_uncalibrated"]
    assert 0 < section["ece_noise"] < section["ece_noise_p95"] < 0.06


def test_top1_is_the_share_of_right_pills_and_agrees_with_its_kinds():
    val, section = fake.crop_answers(fake.muddled, True, 1), classification(fake.muddled)
    predicted = val.logits.argmax(axis=1)
    assert section["top1"] == pytest.approx((predicted == val.truth).mean(), abs=1e-9)
    kinds = [section[kind] for kind in sections.IMAGE_TYPES]
    right = sum(kind["top1"] * kind["pills"] for kind in kinds)
    assert right / len(val) == pytest.approx(section["top1"], abs=1e-12)
    single = val.of_type("single")
    section = sections.classification(single, fake.fitted(single), 50, 0)
    assert section["combination"]["top1"] is None
    assert section["combination"]["top1_reason"] == "no known pill in combination frames"


def test_an_oracle_is_right_everywhere_and_right_boxes_with_wrong_names_are_found_but_wrong():
    section = sections.pipeline(fake.frames())
    for name in ("pill_precision", "pill_recall", "pill_f1", "frame_exact"):
        assert section[name] == pytest.approx(1.0), name
    assert sum(section["errors"].values()) == 0
    assert (section["frames"], section["pills"]) == (12, 30)
    section = sections.pipeline(fake.frames(right=False))
    assert section["pill_f1"] == section["frame_exact"] == 0.0
    assert section["errors"]["wrong_name"] == 24
    assert section["errors"]["unknown_taken_for_known"] == 6
    assert sections.detection(fake.frames(right=False), fake.OPTIONS, 0)["map50"] == pytest.approx(
        1.0
    )


def test_a_detector_that_returns_nothing_recalls_0_and_no_frames_give_reasons():
    empty = fake.frames(found=False)
    section = sections.pipeline(empty)
    assert section["pill_recall"] == section["pill_f1"] == section["frame_exact"] == 0.0
    assert section["pill_precision"] is None
    assert section["pill_precision_reason"] == "no pill found"
    assert section["errors"]["missed"] == 30
    found = sections.detection(empty, fake.OPTIONS, 0)
    assert (found["map50"], found["recall"], found["precision"]) == (0.0, 0.0, None)
    section = sections.pipeline(FrameSet([]))
    for name in ("pill_f1", "frame_exact", "ms_per_frame_p50"):
        assert section[name] is None
        assert section[f"{name}_reason"]
    assert sections.detection(FrameSet([]), fake.OPTIONS, 0)["map50"] is None


def test_metrics_of_pills_recomputed_from_counts():
    some = [
        fake.frame_answer(0, "single", [1], [1]),
        fake.frame_answer(1, "single", [2], [3]),
        fake.frame_answer(2, "combination", [1, 2], [1, 2, 4]),
        fake.frame_answer(3, "combination", [1, -1], [-1]),
    ]
    section = sections.pipeline(FrameSet(some))
    shares = {
        "pill_precision": 3 / 6, "pill_recall": 3 / 6, "accepted_precision": 3 / 5,
        "frame_exact": 1 / 4,
    }  # fmt: skip
    assert {name: section[name] for name in shares} == shares
    assert [section["errors"][kind] for kind in ("known_refused", "false_box", "missed")] == [1] * 3


def test_precision_and_recall_count_boxes_at_the_operating_point_only():
    unsure = np.array([0.9, 0.8, 0.3, 0.2, 0.1])
    frame = fake.frame_answer(0, "single", [1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    frame = replace(frame, found_score=unsure)
    section = sections.detection(FrameSet([frame]), fake.OPTIONS, 0)
    assert (section["recall"], section["precision"]) == (3 / 5, 1.0)
    assert section["map50"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("label", "top", "f1", "unrefused"),
    [(1, [1], 0.0, 1.0), (-1, [3], 1.0, 0.0), (1, [], 0.0, None)],
)
def test_refusing_costs_f1_on_known_pills_and_gains_on_unknown_ones(label, top, f1, unrefused):
    candidates = np.array([top], np.int64)
    frame = replace(fake.frame_answer(0, "single", [label], [-1]), top_class=candidates)
    section = sections.pipeline(FrameSet([frame]))
    assert (section["pill_f1"], section["pill_f1_unrefused"]) == (f1, unrefused)
    assert ("pill_f1_unrefused_reason" in section) == (unrefused is None)
