import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, top_k_accuracy_score

from pillsnap.errors import CheckpointError
from pillsnap.evaluation import metrics
from pillsnap.recognition import scores

RNG = np.random.default_rng(5)
EMPTY, NONE = np.empty(0), np.empty(0, bool)
TRUTH = RNG.integers(0, 12, 500)
LOGITS = RNG.normal(0, 1, (500, 12)) + 1.5 * np.eye(12)[TRUTH]


@pytest.mark.parametrize("rows", [scores.ROWS, 7])
def test_ranks_give_scikit_learns_top_k(monkeypatch, rows):
    monkeypatch.setattr(scores, "ROWS", rows)
    for k in (1, 3, 5):
        expected = top_k_accuracy_score(TRUTH, LOGITS, k=k, labels=range(12))
        assert np.mean(metrics.ranks(LOGITS, TRUTH) < k) == pytest.approx(expected, abs=1e-12)


def test_equal_logits_are_never_right_and_logits_that_are_not_finite_are_refused():
    assert metrics.ranks(np.zeros((3, 3)), np.array([0, 1, 2])).tolist() == [2, 2, 2]
    with pytest.raises(CheckpointError, match="logits of 1 of 2 crops are not finite"):
        metrics.ranks(np.array([[0.0, 1.0], [0.0, np.nan]]), np.array([0, 1]))


def test_ece_is_the_sum_over_bins_written_out():
    confidence, right = RNG.uniform(0, 1, 400), RNG.uniform(0, 1, 400) < 0.6
    bins = [(confidence > i / 15) & (confidence <= (i + 1) / 15) for i in range(15)]
    gaps = [abs((right - confidence)[inside].sum()) for inside in bins]
    expected = sum(gaps) / len(right)
    assert metrics.ece(confidence, right) == pytest.approx(expected, abs=1e-9)
    rows = metrics.reliability(np.array([0.0, 1 / 15, 0.5, 1.0]), right[:4])
    assert [row["pills"] for row in rows] == [2, 1, 1]


def test_auroc_is_scikit_learns_and_macro_f1_is_over_the_classes_that_occur():
    known, unknown = RNG.normal(1, 1, 80).round(1), RNG.normal(0, 1, 50).round(1)
    expected = roc_auc_score(np.arange(130) < 80, np.r_[known, unknown])
    assert metrics.auroc(known, unknown) == pytest.approx(expected, abs=1e-9)
    truth, named = np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1])
    assert metrics.macro_f1(named, truth) == pytest.approx((2 / 3 + 1) / 2, abs=1e-12)


@pytest.mark.parametrize("recall", [0.5, 0.95, 1.0])
def test_threshold_is_the_highest_that_lets_enough_known_pills_through(recall):
    known = RNG.normal(0, 1, 137).round(1)
    threshold = metrics.threshold_at(known, recall)
    assert threshold is not None
    assert np.mean(known >= threshold) >= recall
    higher = known[known > threshold]
    assert not len(higher) or np.mean(known >= higher.min()) < recall
    unknown = np.array([threshold, threshold + 1, threshold - 0.1, -9.0])
    assert metrics.fpr_at(known, unknown, recall) == 0.5


def test_coverage_ends_at_the_plain_accuracy_and_starts_at_the_surest():
    right = np.r_[np.ones(50, bool), np.zeros(50, bool)]
    rows = metrics.coverage(np.linspace(1, 0, 100), right)
    assert rows[0] == {"coverage": 0.05, "accuracy": 1.0}
    assert rows[-1] == {"coverage": 1.0, "accuracy": 0.5}


def test_a_weight_counts_a_box_so_often():
    score = RNG.permutation(60) / 60
    matched = RNG.uniform(0, 1, 60) < 0.6
    weight = RNG.integers(0, 3, 60)
    repeated = np.repeat(np.arange(60), weight)
    direct = metrics.average_precision(score[repeated], matched[repeated], 60)
    weighted = metrics.average_precision(score, matched, 60, weight)
    assert weighted == pytest.approx(direct, abs=0.02)


@pytest.mark.parametrize(
    ("metric", "arguments"),
    [
        (metrics.mean, [EMPTY]),
        (metrics.macro_f1, [EMPTY.astype(int), EMPTY.astype(int)]),
        (metrics.ece, [EMPTY, NONE]),
        (metrics.auroc, [EMPTY, np.ones(3)]),
        (metrics.auroc, [np.ones(3), EMPTY]),
        (metrics.threshold_at, [EMPTY, 0.95]),
        (metrics.fpr_at, [np.ones(3), EMPTY, 0.95]),
        (metrics.average_precision, [EMPTY, NONE, 0]),
        (metrics.ratio, [0, 0]),
    ],
)
def test_nothing_to_measure_is_none(metric, arguments):
    assert metric(*arguments) is None


def test_plots_of_nothing_have_no_rows_and_a_detector_that_finds_nothing_has_precision_0():
    assert metrics.coverage(EMPTY, NONE) == metrics.precision_recall(EMPTY, NONE, 0) == []
    rows = metrics.precision_recall(EMPTY, NONE, 5)
    assert [row["precision"] for row in rows] == [0.0] * 101
    assert metrics.average_precision(EMPTY, NONE, 5) == 0.0
