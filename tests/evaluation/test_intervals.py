import numpy as np
import pytest
from scipy.stats import beta
from sklearn.metrics import roc_auc_score

from make.drawn_sets import KINDS, coverage
from pillsnap.evaluation import intervals
from pillsnap.evaluation.intervals import Interval

RNG = np.random.default_rng(11)
GROUPS = np.array([f"g{i // 5}" for i in range(300)], dtype=object)
RIGHT = RNG.uniform(size=300) < 0.7
ONES = np.ones(300)


@pytest.mark.parametrize("value", [0.9, 0.965, 0.99])
@pytest.mark.parametrize("groups", [12, 35, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_is_inside_in_93_to_97_per_cent_of_drawn_sets(kind, groups, value):
    """Within two standard errors: docs/evaluation.md has the table of 2,000 sets."""
    sets = 200 if kind == "average_precision" else 600
    error = 2 * np.sqrt(0.95 * 0.05 / sets)
    assert 0.93 - error <= coverage(kind, groups, value, sets) <= 0.97 + error


def test_independent_pills_have_wilsons_interval_and_a_group_that_agrees_counts_as_one():
    alone = np.arange(300)
    p, c = RIGHT.mean(), 1.96**2 / 300
    middle, half = (p + c / 2) / (1 + c), np.sqrt(c * p * (1 - p) + c**2 / 4) / (1 + c)
    found = intervals.ratio(RIGHT, ONES, alone)
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half), abs=2e-3)
    right = np.repeat(RNG.uniform(size=60) < 0.7, 5)
    whole = intervals.ratio(right, ONES, GROUPS)
    sixty = intervals.ratio(right[::5], np.ones(60), np.arange(60))
    assert (whole.low, whole.high) == pytest.approx((sixty.low, sixty.high), abs=0.01)


def test_groups_that_agree_do_not_shrink_the_interval_and_all_right_is_the_rule_of_three():
    found = intervals.ratio(ONES, ONES, GROUPS)
    assert found == Interval(pytest.approx(0.05 ** (1 / 60)), 1.0, 60)
    assert found.low == pytest.approx(1 - 3 / 60, abs=0.002)
    assert found.low == pytest.approx(beta.ppf(0.05, 60, 1))
    wrong = intervals.ratio(0 * ONES, ONES, GROUPS)
    assert (wrong.low, wrong.high) == (0.0, pytest.approx(1 - found.low))
    even = np.tile([1.0, 0.0], 6)
    found = intervals.ratio(even, np.ones(12), np.arange(12) // 2)
    assert found.high - found.low > 0.4


def test_auroc_is_inside_and_codes_that_differ_widen_it():
    code, group = np.arange(120) // 6, np.arange(300) // 3
    known, noise = RNG.normal(0, 1, 300).round(1), RNG.normal(-2, 1, 120).round(1)
    widths = []
    for spread in (0, 2):
        unknown = noise + spread * (code % 2)
        found = intervals.auroc(known, unknown, group, code)
        scores = np.r_[known, unknown]
        assert found.low < roc_auc_score(np.arange(420) < 300, scores) < found.high
        widths.append(found.high - found.low)
    assert widths[1] > 1.5 * widths[0]


def test_groups_without_any_pill_do_not_count_and_few_groups_are_named():
    assert str(Interval(0.5, 0.75, 12)) == "0.500 to 0.750, 12 groups only"
    assert str(Interval(0.5, 0.75, 20)) == "0.500 to 0.750"
    whole = np.where(np.arange(300) < 250, 1.0, 0.0)
    assert intervals.ratio(RIGHT * whole, whole, GROUPS).groups == 50
    empty, one = np.empty(0), np.zeros(300, int)
    assert intervals.ratio(RIGHT, ONES, one) is None
    assert intervals.ratio(empty, empty, []) is None
    assert intervals.macro_f1(one, one, one) is None
    assert intervals.auroc(ONES, ONES, GROUPS, one) is None
    assert intervals.average_precision(ONES, RIGHT, one, np.ones(1), ["g"], 9, 0) is None
    assert intervals.average_precision(ONES, RIGHT, one, np.zeros(2), "ab", 9, 0) is None
