import itertools

import numpy as np
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


def test_a_box_with_the_right_name_is_right() -> None:
    outcome = matched([NEAR], [4], [SQUARE], [4])
    assert (outcome.predicted, outcome.labelled, outcome.exact) == (("right",), ("right",), True)


def test_an_unknown_pill_is_right_when_refused() -> None:
    assert matched([NEAR], [-1], [SQUARE], [-1]).exact


def test_a_wrong_name_is_named_so_on_both_sides() -> None:
    outcome = matched([NEAR], [5], [SQUARE], [4])
    assert outcome.predicted == outcome.labelled == ("wrong_name",)


def test_a_known_pill_called_unknown_is_refused() -> None:
    assert matched([NEAR], [-1], [SQUARE], [4]).predicted == ("known_refused",)


def test_an_unknown_pill_with_a_name_is_taken_for_known() -> None:
    assert matched([NEAR], [5], [SQUARE], [-1]).predicted == ("unknown_taken_for_known",)


def test_a_pill_without_a_box_is_missed() -> None:
    outcome = matched([], [], [SQUARE], [4])
    assert (outcome.labelled, outcome.errors()["missed"]) == (("missed",), 1)


def test_a_box_away_from_every_pill_is_false() -> None:
    outcome = matched([FAR], [4], [SQUARE], [4])
    assert (outcome.predicted, outcome.labelled) == (("false_box",), ("missed",))


def test_the_second_box_of_a_pill_is_duplicated() -> None:
    outcome = matched([NEAR, SQUARE], [4, 4], [SQUARE], [4])
    assert outcome.predicted == ("duplicated", "right")


def test_the_right_name_wins_over_the_better_box() -> None:
    outcome = matched([SQUARE, NEAR], [5, 4], [SQUARE], [4])
    assert outcome.predicted == ("duplicated", "right")


def test_an_empty_frame_read_as_empty_is_exact() -> None:
    assert matched([], [], [], []).exact


def test_errors_count_a_wrong_pair_once() -> None:
    outcome = matched([NEAR, FAR], [5, 1], [SQUARE, [100, 0, 110, 10]], [4, 4])
    errors = outcome.errors()
    assert errors["wrong_name"] == errors["false_box"] == errors["missed"] == 1
    assert sum(errors.values()) == 3


def box_lists(most: int):
    corner, side = st.integers(0, 12), st.integers(4, 12)
    box = st.tuples(corner, corner, side, side).map(
        lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
    )
    return st.lists(st.tuples(box, st.integers(-1, 2)), max_size=most)


@settings(max_examples=150, deadline=None)
@given(box_lists(4), box_lists(4))
def test_no_pairing_has_more_right_pills(predicted, labelled) -> None:
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
    assert len({p for p, _ in outcome.pairs}) == len({q for _, q in outcome.pairs})


def test_greedy_gives_a_pill_to_the_first_box_only() -> None:
    found, labelled = np.array([NEAR, SQUARE, FAR], np.float32), np.array([SQUARE], np.float32)
    assert matching.greedy(found, labelled, 0.5).tolist() == [True, False, False]


def test_greedy_takes_the_next_best_pill_when_the_best_is_taken() -> None:
    found = np.array([[0, 0, 10, 10], [0, 0, 10, 10]], np.float32)
    labelled = np.array([[0, 0, 10, 10], [0, 2, 10, 12]], np.float32)
    assert matching.greedy(found, labelled, 0.5).tolist() == [True, True]


def test_greedy_without_pills_or_boxes_matches_nothing() -> None:
    none, one = np.empty((0, 4), np.float32), np.array([SQUARE], np.float32)
    assert matching.greedy(one, none, 0.5).tolist() == [False]
    assert matching.greedy(none, one, 0.5).tolist() == []
