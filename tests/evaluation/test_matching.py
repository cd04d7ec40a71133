import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillsnap import boxes
from pillsnap.evaluation import matching

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
