import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillsnap import boxes
from pillsnap.evaluation import matching, metrics
from pillsnap.evaluation.matching import Evaluator, Instances

RNG = np.random.default_rng(3)
SQUARE = [0.0, 0.0, 10.0, 10.0]
NEAR = [0.0, 1.0, 10.0, 11.0]
FAR = [50.0, 50.0, 60.0, 60.0]


def matched(predicted, named, labelled, true):
    shape = (-1, 4)
    return matching.match(
        np.array(predicted, np.float32).reshape(shape),
        np.array(named, np.int64),
        np.array(labelled, np.float32).reshape(shape),
        np.array(true, np.int64),
        0.5,
    )


@pytest.mark.parametrize(
    ("predicted", "named", "true", "of_predicted", "of_labelled"),
    [
        ([NEAR], [4], [4], ["right"], ["right"]),
        ([NEAR], [-1], [-1], ["right"], ["right"]),
        ([NEAR], [5], [4], ["wrong_name"], ["wrong_name"]),
        ([NEAR], [-1], [4], ["known_refused"], ["known_refused"]),
        ([NEAR], [5], [-1], ["unknown_taken_for_known"], ["unknown_taken_for_known"]),
        ([], [], [4], [], ["missed"]),
        ([FAR], [4], [4], ["false_box"], ["missed"]),
        ([NEAR, SQUARE], [4, 4], [4], ["duplicated", "right"], ["right"]),
        ([SQUARE, NEAR], [5, 4], [4], ["duplicated", "right"], ["right"]),  # right class first
        ([], [], [], [], []),
    ],
)
def test_each_pill_has_its_outcome(predicted, named, true, of_predicted, of_labelled):
    outcome = matched(predicted, named, [SQUARE] * len(true), true)
    assert (outcome.predicted, outcome.labelled) == (of_predicted, of_labelled)
    assert outcome.exact == ({*of_predicted, *of_labelled} <= {"right"})
    assert outcome.errors()["missed"] == of_labelled.count("missed")


def box_lists(most: int):
    corner, side = st.integers(0, 12), st.integers(4, 12)
    box = st.tuples(corner, corner, side, side).map(
        lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
    )
    return st.lists(st.tuples(box, st.integers(-1, 2)), max_size=most)


@settings(max_examples=150, deadline=None)
@given(box_lists(4), box_lists(4))
def test_no_pairing_has_more_right_pills(predicted, labelled):
    named, true = [c for _, c in predicted], [c for _, c in labelled]
    found = [b for b, _ in predicted]
    pills = [b for b, _ in labelled]
    overlap = boxes.iou(
        np.array(found, np.float32).reshape(-1, 4), np.array(pills, np.float32).reshape(-1, 4)
    )
    few, many = sorted((range(len(found)), range(len(pills))), key=len)
    swap = len(found) > len(pills)
    best = 0
    for order in itertools.permutations(many, len(few)):
        pairs = [(b, a) if swap else (a, b) for a, b in zip(few, order, strict=True)]
        right = sum(overlap[p, q] >= 0.5 and named[p] == true[q] for p, q in pairs)
        best = max(best, int(right))
    outcome = matched(found, named, pills, true)
    assert outcome.right == best
    assert outcome.predicted.count("right") == outcome.labelled.count("right")
    assert len(outcome.pairs) == len(set(outcome.pairs.values()))


@pytest.mark.parametrize(
    ("found", "labelled", "expected"),
    [
        ([NEAR, SQUARE, FAR], [SQUARE], [True, False, False]),
        ([SQUARE, SQUARE], [SQUARE, [0, 2, 10, 12]], [True, True]),  # the next best pill
        ([SQUARE], [], [False]),
        ([], [SQUARE], []),
    ],
)
def test_greedy_gives_each_pill_to_one_box(found, labelled, expected):
    pair = [np.array(boxes, np.float32).reshape(-1, 4) for boxes in (found, labelled)]
    assert matching.greedy(*pair, 0.5).tolist() == expected


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
