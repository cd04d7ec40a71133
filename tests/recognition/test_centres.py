import numpy as np
import pytest

from pillsnap.recognition import centres
from pillsnap.recognition.centres import Centres

RNG = np.random.default_rng(0)
WIDE = np.array([1.0, 0.1, 0.1, 0.1, 0.1])  # pills of a class differ ten times as much in one way


def sums_of(embeddings: np.ndarray, truth: np.ndarray, side: np.ndarray, classes: int):
    sums, counts = np.zeros((classes, 2, embeddings.shape[1])), np.zeros((classes, 2))
    np.add.at(sums, (truth, side), embeddings)
    np.add.at(counts, (truth, side), 1)
    return sums, counts, embeddings.T @ embeddings


def test_likeness_is_the_mahalanobis_distance_to_the_nearer_side() -> None:
    middles = RNG.normal(size=(3, 2, 5))
    middles /= np.linalg.norm(middles, axis=2, keepdims=True)
    truth, side = RNG.integers(3, size=6000), RNG.integers(2, size=6000)
    pills = middles[truth, side] + 0.01 * WIDE * RNG.normal(size=(6000, 5))
    fitted = centres.fitted(*sums_of(pills, truth, side, 3))
    assert fitted.means == pytest.approx(middles, abs=0.005)
    within = (1 - centres.SHRINKAGE) * np.diag((0.01 * WIDE) ** 2)
    within += centres.SHRINKAGE * np.trace(np.diag((0.01 * WIDE) ** 2)) / 5 * np.eye(5)
    off = pills[:50, None] - middles.reshape(-1, 5)
    squares = np.einsum("nmd,de,nme->nm", off, np.linalg.inv(within), off) * within[1, 1]
    expected = -squares.reshape(50, 3, 2).min(axis=2)
    assert fitted.likeness(pills[:50]) == pytest.approx(expected, rel=0.05, abs=0.002)


def test_a_side_without_pills_is_as_the_other_and_a_class_without_pills_like_nothing() -> None:
    pills = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    fitted = centres.fitted(*sums_of(pills, np.array([0, 2, 2]), np.array([1, 0, 1]), 3))
    assert fitted.means[:, :, 0].tolist() == [[1, 1], [0, 0], [0, 0]]
    assert fitted.likeness(pills)[:, 1].tolist() == [-centres.FARTHEST] * 3
    between = fitted.between()
    assert between.argmax(axis=1)[[0, 2]].tolist() == [2, 0]
    assert np.isneginf(np.diag(between)).all()
    empty = centres.fitted(np.zeros((2, 2, 1)), np.zeros((2, 2)), np.zeros((1, 1)))
    assert empty.likeness(np.ones((1, 1))).tolist() == [[-centres.FARTHEST] * 2]


def test_classes_can_be_chosen_and_joined_and_arrays_come_back_from_json() -> None:
    means = centres.normalised(RNG.normal(size=(4, 2, 3)))
    every = Centres(means, np.zeros((1, 3), np.float32))
    again = every.of(np.array([0, 1])).joined(means[2:])
    assert (again.means == means).all()
    assert (centres.decoded(centres.encoded(means)) == means).all()
    assert centres.normalised(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [
        [pytest.approx(0.6), pytest.approx(0.8)],
        [0.0, 0.0],
    ]
