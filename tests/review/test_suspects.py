"""What is suspected, how it is ranked, and which corrections answer it."""

import numpy as np
import pandas as pd
import pytest

from pillsnap.manifest.corrections import Correction
from pillsnap.review import suspects
from pillsnap.review.suspects import Suspect

RIGHT, FAR = (0, 0, 10, 10), (50, 50, 60, 60)
SHIFTED = (6, 0, 16, 10)  # IoU 0.25 with RIGHT
OVER = (0, 4, 10, 14)  # IoU 0.43


def compare(labels, found, confidence, seen_from=0.5):
    def boxes(rows):
        return np.array(rows, np.float32).reshape(-1, 4)

    confidence = np.array(confidence, np.float32)
    seen = confidence >= seen_from
    return list(suspects.compared(boxes(labels), boxes(found), confidence, seen, 0.5))


@pytest.mark.parametrize(
    ("labels", "found", "confidence", "expected"),
    [
        ([RIGHT], [RIGHT], [0.9], []),
        ([], [RIGHT], [0.9], [(None, 0, 0.9, "unlabelled")]),
        ([], [RIGHT], [0.4], []),
        ([RIGHT], [], [], [(0, None, 1.0, "not_found")]),
        ([RIGHT], [RIGHT], [0.4], [(0, None, 0.6, "not_found")]),
        ([RIGHT], [SHIFTED], [0.9], [(0, 0, 0.9, "box")]),
        ([RIGHT], [FAR], [0.8], [(None, 0, 0.8, "unlabelled"), (0, None, 1.0, "not_found")]),
        ([RIGHT], [RIGHT, OVER], [0.9, 0.7], [(None, 1, 0.7 * 4 / 7, "unlabelled")]),
    ],
)
def test_labels_against_found_boxes(labels, found, confidence, expected):
    got = compare(labels, found, confidence)
    assert [(a, b, d) for a, b, _, d in got] == [(a, b, d) for a, b, _, d in expected]
    assert [one[2] for one in got] == pytest.approx([one[2] for one in expected])


def test_neighbours_are_known_train_pills_of_other_groups(monkeypatch):
    monkeypatch.setattr(suspects, "NEIGHBOURS", 2)
    monkeypatch.setattr(suspects, "BLOCK", 1)  # a row at a time
    rows = pd.DataFrame({
        "split": ["train"] * 5 + ["val"],
        "known": [True, True, True, True, False, True],
        "group_id": ["a", "a", "b", "c", "d", "e"],
        "class_index": [0, 0, 1, 1, -1, 0],
    })  # fmt: skip
    angles = np.array([0.0, 0.01, 0.02, 0.03, 0.0, 0.0])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    shares = suspects.neighbour_shares(rows, embeddings, 2)
    assert shares.tolist() == [[0, 1], [0, 1], [0.5, 0.5], [0.5, 0.5], [1, 0], [1, 0]]


def suspect(code="K-000001", box=(1, 2, 3, 4), score=0.5, reason="class"):
    return Suspect("p", "train", "single", code, box, score, (reason,))


def test_reasons_against_one_label_add_up_and_the_most_suspect_is_first():
    one, two, other = suspect(), suspect(score=0.8, reason="not_found"), suspect(box=(9, 9, 9, 9))
    found = suspects.ranked(iter([one, other, two]), [])
    assert [each.box for each in found] == [one.box, other.box]
    assert found[0].score == pytest.approx(0.9) and found[0].reasons == ("class", "not_found")


@pytest.mark.parametrize(
    ("action", "code", "new_code", "box", "left"),
    [
        ("ok", "K-000001", "", (1, 2, 3, 4), ["K-000002"]),
        ("ok", "K-000001", "", (), ["K-000002", ""]),
        ("ok", "K-000001", "", (9, 9, 9, 9), ["K-000001", "K-000002", ""]),
        ("recode", "K-000001", "K-000002", (1, 2, 3, 4), []),
        ("move", "K-000001", "", (9, 9, 9, 9), ["K-000002", ""]),
        ("ok", "", "", (1, 2, 3, 5), ["K-000001", "K-000002"]),
        ("add", "", "K-000007", (1, 2, 3, 4), ["K-000001", "K-000002"]),
    ],
)
def test_an_answered_label_is_not_listed_again(action, code, new_code, box, left):
    every = [suspect(), suspect("K-000002"), suspect("")]
    row = Correction("p", code, action, new_code, box, "")
    assert sorted(each.code for each in suspects.ranked(iter(every), [row])) == sorted(left)
    elsewhere = row._replace(image_path="q")
    assert len(suspects.ranked(iter(every), [elsewhere])) == 3
