"""Metrics of plain arrays. None means there was nothing to measure; 0 is always a measurement."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from pillsnap.arrays import Bools, Floats, Ints
from pillsnap.errors import CheckpointError
from pillsnap.recognition.scores import slices
from pillsnap.training import ranking

ECE_BINS = 15  # Guo et al. 2017, as everyone reports it
RECALL_POINTS = np.linspace(0.0, 1.0, 101)  # COCO's


def ranks(logits: Floats, truth: Ints) -> Ints:
    """`training.ranking.ranks` of the true classes: 0 is first. [n, classes], [n] -> [n].

    CheckpointError if a logit is not finite.
    """
    before, bad = np.empty(len(truth), dtype=np.int64), 0
    for rows in slices(len(truth)):
        own = np.take_along_axis(logits[rows], truth[rows, None], axis=1)
        before[rows] = ranking.ranks(logits[rows], own)
        bad += int(ranking.non_finite(logits[rows]).sum())
    if bad:
        raise CheckpointError(
            f"The classifier's logits of {bad} of {len(truth)} crops are not finite.",
            "Train it again: dvc repro -f -s train_classification",
        )
    return before


def mean(values: NDArray[Any]) -> float | None:
    """Arithmetic mean, or None of nothing."""
    return float(np.mean(values)) if len(values) else None


def macro_f1(predicted: Ints, truth: Ints) -> float | None:
    """Mean F1 over the classes that occur in `truth`; a class that is never right counts 0."""
    if not len(truth):
        return None
    labels = np.unique(truth)
    return float(f1_score(truth, predicted, labels=labels, average="macro", zero_division=0))


def bins_of(confidence: Floats) -> Ints:
    """Index of the bin ((i, i+1] / 15) of each confidence; 0 is in the first."""
    inner_edges = np.linspace(0, 1, ECE_BINS + 1)[1:-1]
    return np.searchsorted(inner_edges, confidence, side="left").astype(np.int64)


def ece(confidence: Floats, right: Bools, bins: Ints | None = None) -> float | None:
    """Expected calibration error over 15 bins of equal width (Guo et al. 2017), 0..1."""
    bins = bins_of(confidence) if bins is None else bins
    return ratio(np.abs(np.bincount(bins, confidence - right)).sum(), len(bins))


def ece_noise(confidence: Floats, rounds: int, seed: int) -> tuple[float, float] | None:
    """Mean and 95 % quantile of the ECE of a classifier that is right with exactly these
    confidences, on as many independent pills: what a measured ECE is no proof against."""
    if not len(confidence):
        return None
    rng, bins = np.random.default_rng(seed), bins_of(confidence)
    drawn = (rng.random(len(confidence)) < confidence for _ in range(rounds))
    found = np.array([ece(confidence, right, bins) for right in drawn], dtype=np.float64)
    return float(np.mean(found)), float(np.quantile(found, 0.95))


def reliability(confidence: Floats, right: Bools) -> list[dict[str, float]]:
    """Rows confidence, accuracy, pills: the bins of `ece` that hold anything."""
    bins = bins_of(confidence)
    return [
        {
            "confidence": float(confidence[bins == index].mean()),
            "accuracy": float(right[bins == index].mean()),
            "pills": int((bins == index).sum()),
        }
        for index in np.unique(bins)
    ]


def auroc(known: Floats, unknown: Floats) -> float | None:
    """Probability that a known pill scores above an unknown one, ties counting a half."""
    if not len(known) or not len(unknown):
        return None
    return float(share_above(known, unknown).mean())


def share_above(scores: Floats, limits: Floats) -> Floats:
    """Share of the scores above each limit, ties counting a half."""
    order = np.sort(scores)
    under = np.searchsorted(order, limits, "left") + np.searchsorted(order, limits, "right")
    return np.asarray(1 - under / (2 * len(scores)))


def threshold_at(known: Floats, recall: float) -> float | None:
    """The highest threshold t with `score >= t` for at least that share of the known pills."""
    if not len(known):
        return None
    keep = max(int(np.ceil(recall * len(known) - 1e-9)), 1)
    return float(np.sort(known)[::-1][keep - 1])


def fpr_at(known: Floats, unknown: Floats, recall: float) -> float | None:
    """Share of the unknown pills accepted at the threshold that accepts that share of the known."""
    threshold = threshold_at(known, recall)
    return None if threshold is None else mean(unknown >= threshold)


def coverage(score: Floats, right: Bools) -> list[dict[str, float]]:
    """Rows coverage, accuracy: accuracy on the pills of the highest scores, by 20 shares."""
    if not len(score):
        return []
    hits = np.cumsum(right[np.argsort(-score, kind="stable")])
    steps = np.unique(np.ceil(np.linspace(1 / 20, 1, 20) * len(score)).astype(int))
    return [
        {"coverage": float(step / len(score)), "accuracy": float(hits[step - 1] / step)}
        for step in steps
    ]


def average_precision(
    score: Floats, matched: Bools, labelled: float, weight: Floats | None = None
) -> float | None:
    """COCO's 101-point AP of found boxes at one IoU; `weight` repeats a box that often.

    `matched` comes from `matching.greedy`; `labelled` is the (weighted) number of labelled boxes.
    """
    if labelled <= 0:
        return None
    return float(precision_curve(score, matched, labelled, weight).mean())


def precision_curve(
    score: Floats, matched: Bools, labelled: float, weight: Floats | None = None
) -> NDArray[np.float64]:
    """Highest precision at or beyond each of COCO's 101 recall points, 0 where never reached."""
    order = np.argsort(-score, kind="stable")
    each = np.ones(len(score)) if weight is None else np.asarray(weight, dtype=np.float64)[order]
    found = np.cumsum(each * matched[order])
    total = np.cumsum(each)
    precision = np.append(found / np.maximum(total, 1e-12), 0.0)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(found / labelled, RECALL_POINTS - 1e-12, side="left")
    return np.asarray(envelope[np.minimum(reached, len(found))])


def precision_recall(score: Floats, matched: Bools, labelled: int) -> list[dict[str, float]]:
    """Rows recall, precision: `precision_curve` for a plot; [] without labelled boxes."""
    if not labelled:
        return []
    points = zip(RECALL_POINTS, precision_curve(score, matched, labelled), strict=True)
    return [{"recall": round(float(x), 2), "precision": float(y)} for x, y in points]


def ratio(part: float, whole: float) -> float | None:
    """part / whole, or None of nothing."""
    return float(part / whole) if whole else None
