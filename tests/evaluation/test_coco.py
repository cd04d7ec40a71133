import numpy as np
import pytest

from pillsnap.evaluation import matching, metrics
from pillsnap.evaluation.coco import Evaluator, Instances

RNG = np.random.default_rng(3)


def made(frames: int) -> tuple[Instances, Instances]:
    corner = RNG.uniform(0, 300, (frames * 4, 2))
    box = np.c_[corner, corner + RNG.uniform(40, 80, (frames * 4, 2))].astype(np.float32)
    frame = np.repeat(np.arange(frames), 4)
    jitter = RNG.normal(0, 6, box.shape).astype(np.float32)
    found = Instances(frame, box + jitter, RNG.permutation(len(box)) / len(box))
    return Instances(frame, box, np.ones(len(box))), found


def measured(labelled: Instances, found: Instances, frames: int) -> dict:
    return Evaluator(labelled, found, frames).measure(np.arange(frames))


def ap_by_hand(labelled: Instances, found: Instances, frames: int, iou: float) -> float:
    order = np.argsort(-found.score, kind="stable")
    matched = np.zeros(len(found.frame), bool)
    for frame in range(frames):
        mine = order[found.frame[order] == frame]
        pills = labelled.box[labelled.frame == frame]
        matched[mine] = matching.greedy(found.box[mine], pills, iou)
    return metrics.average_precision(found.score, matched, len(labelled.frame))


def test_map_is_the_mean_of_the_average_precisions_by_hand():
    labelled, found = made(30)
    by_hand = [ap_by_hand(labelled, found, 30, iou) for iou in np.arange(0.5, 1.0, 0.05)]
    whole = measured(labelled, found, 30)
    assert whole["map50"] == pytest.approx(by_hand[0], abs=1e-4)
    assert whole["map50_95"] == pytest.approx(np.mean(by_hand), abs=1e-4)


def test_the_labels_give_1_nothing_0_and_some_frames_are_measured_as_a_set_of_their_own():
    labelled, found = made(30)
    empty = found.where(np.zeros(120, bool))
    assert measured(labelled, labelled, 30)["map50_95"] == pytest.approx(1.0)
    assert measured(labelled, empty, 30)["map50"] == 0.0
    assert measured(empty, found, 30)["map50"] is None
    frames = np.arange(0, 30, 3)
    own = [part.where(np.isin(part.frame, frames)) for part in (labelled, found)]
    part, alone = Evaluator(labelled, found, 30).measure(frames), measured(*own, 30)
    assert part == pytest.approx(alone, abs=1e-12)
    assert Evaluator(labelled, found, 30).measure(np.empty(0, int))["map50"] is None
