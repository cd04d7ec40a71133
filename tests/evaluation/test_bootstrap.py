import numpy as np
import pytest

from pillsnap.evaluation import bootstrap, metrics

RNG = np.random.default_rng(11)
GROUPS = [f"g{i // 5}" for i in range(300)]
RIGHT = RNG.uniform(size=300) < 0.7
ROUNDS = 200


def draws():
    return bootstrap.resample(GROUPS, ROUNDS, 7)


def repeated(values: np.ndarray, round_: int) -> np.ndarray:
    """The items of one round, written out."""
    return np.repeat(values, draws().weights()[round_].astype(int), axis=0)


def test_every_round_draws_as_many_groups_as_there_are() -> None:
    assert (draws().counts.sum(axis=1) == 60).all()


def test_the_same_seed_gives_the_same_interval() -> None:
    ones = np.ones(300)
    first, second = (bootstrap.ratio(draws(), RIGHT, ones) for _ in range(2))
    assert first == second


def test_ratio_is_that_of_the_items_written_out() -> None:
    values = [repeated(RIGHT, r).mean() for r in range(ROUNDS)]
    expected = np.percentile(values, [2.5, 97.5])
    assert bootstrap.ratio(draws(), RIGHT, np.ones(300)) == pytest.approx(expected, abs=1e-12)


def test_whole_groups_give_a_wider_interval_than_single_pills() -> None:
    right = np.repeat(RNG.uniform(size=60) < 0.7, 5)
    low, high = bootstrap.ratio(draws(), right, np.ones(300))
    alone = bootstrap.resample([str(i) for i in range(300)], ROUNDS, 7)
    narrow_low, narrow_high = bootstrap.ratio(alone, right, np.ones(300))
    assert high - low > 1.5 * (narrow_high - narrow_low)


def test_ece_is_that_of_the_items_written_out() -> None:
    confidence = RNG.uniform(size=300)
    values = [metrics.ece(repeated(confidence, r), repeated(RIGHT, r)) for r in range(ROUNDS)]
    expected = np.percentile(values, [2.5, 97.5])
    assert bootstrap.ece(draws(), confidence, RIGHT) == pytest.approx(expected, abs=1e-9)


def test_macro_f1_is_scikit_learns_of_the_items_written_out() -> None:
    truth = RNG.integers(0, 4, 300)
    named = np.where(RIGHT, truth, (truth + 1) % 4)
    values = [metrics.macro_f1(repeated(named, r), repeated(truth, r)) for r in range(ROUNDS)]
    expected = np.percentile(values, [2.5, 97.5])
    assert bootstrap.macro_f1(draws(), named, truth, 6) == pytest.approx(expected, abs=1e-9)


def test_auroc_is_scikit_learns_of_the_items_written_out() -> None:
    known, unknown = RNG.normal(1, 1, 300).round(1), RNG.normal(0, 1, 300).round(1)
    other = bootstrap.resample(GROUPS, ROUNDS, 8)
    values = [
        metrics.auroc(repeated(known, r), np.repeat(unknown, other.weights()[r].astype(int)))
        for r in range(ROUNDS)
    ]
    expected = np.percentile(values, [2.5, 97.5])
    assert bootstrap.auroc(known, unknown, draws(), other) == pytest.approx(expected, abs=1e-9)


def test_average_precision_around_the_value_of_all_frames() -> None:
    frames = bootstrap.resample([str(i) for i in range(60)], ROUNDS, 7)
    score, frame = RNG.permutation(300) / 300, np.arange(300) // 5
    low, high = bootstrap.average_precision(frames, score, RIGHT, frame, np.full(60, 5.0))
    assert low < metrics.average_precision(score, RIGHT, 300) < high


def test_a_single_group_has_no_interval() -> None:
    alone = bootstrap.resample(["g"] * 300, ROUNDS, 7)
    assert bootstrap.ratio(alone, RIGHT, np.ones(300)) is None
    assert bootstrap.ece(alone, np.full(300, 0.5), RIGHT) is None


def test_nothing_has_no_interval() -> None:
    assert bootstrap.ratio(bootstrap.resample([], ROUNDS, 7), np.empty(0), np.empty(0)) is None
