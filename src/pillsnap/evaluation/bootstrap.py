"""95 % intervals by drawing capture groups with replacement: neighbours on a turntable are not
independent, so pills are never drawn one by one. All rounds are computed at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from pillsnap.arrays import Array, Ints
from pillsnap.evaluation import metrics

Interval = tuple[float, float]

LEVELS = (2.5, 97.5)


@dataclass(frozen=True)
class Resamples:
    """`counts[r, g]`: how often group g was drawn in round r; `group_of[i]`: item i's group."""

    counts: NDArray[np.float64]
    group_of: Ints

    def sums(self, values: Array) -> NDArray[np.float64]:
        """Sum of values over the drawn items, [rounds]."""
        return self.counts @ self._per_group(values)

    def weights(self) -> NDArray[np.float64]:
        """How often each item was drawn, [rounds, items]."""
        return self.counts[:, self.group_of]

    def per_column(self, values: Array, column: Array, columns: int) -> NDArray[np.float64]:
        """Sum of values by column over the drawn items, [rounds, columns]."""
        shape = (self.counts.shape[1], columns)
        table = csr_matrix((values.astype(np.float64), (self.group_of, column)), shape=shape)
        return np.asarray((table.T @ self.counts.T).T)

    def _per_group(self, values: Array) -> NDArray[np.float64]:
        groups = self.counts.shape[1]
        sums = np.bincount(self.group_of, np.asarray(values, np.float64), minlength=groups)
        return sums.astype(np.float64)


def resample(groups: Sequence[str], rounds: int, seed: int) -> Resamples:
    """Draw as many groups as there are, `rounds` times; `groups[i]` is item i's group."""
    names, group_of = np.unique(np.asarray(groups, dtype=object), return_inverse=True)
    count = max(len(names), 1)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=rounds)
    return Resamples(draws.astype(np.float64), group_of.astype(np.int64))


def interval(values: Array) -> Interval | None:
    """The middle 95 % of the rounds' values; None when they hold no two finite ones."""
    finite = values[np.isfinite(values)]
    if len(finite) < 2:
        return None
    low, high = np.percentile(finite, LEVELS)
    return float(low), float(high)


def ratio(draws: Resamples, part: Array, whole: Array) -> Interval | None:
    """Interval of sum(part) / sum(whole), both [items]; None with fewer than two groups."""
    if draws.counts.shape[1] < 2:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        return interval(draws.sums(part) / draws.sums(whole))


def ece(draws: Resamples, confidence: Array, right: Array) -> Interval | None:
    """Interval of the expected calibration error."""
    if draws.counts.shape[1] < 2:
        return None
    gaps = draws.per_column(confidence - right, metrics.bins_of(confidence), metrics.ECE_BINS)
    return interval(np.abs(gaps).sum(axis=1) / draws.sums(np.ones(len(right))))


def macro_f1(draws: Resamples, predicted: Array, truth: Array, classes: int) -> Interval | None:
    """Interval of macro F1 over the classes that the drawn items hold."""
    if draws.counts.shape[1] < 2:
        return None
    ones = np.ones(len(truth))
    right = draws.per_column((predicted == truth).astype(float), truth, classes)
    support = draws.per_column(ones, truth, classes)
    named = draws.per_column(ones, predicted, classes)
    each = np.where(support > 0, 2 * right / np.maximum(support + named, 1e-12), np.nan)
    return interval(np.nanmean(each, axis=1))


def auroc(
    known: Array, unknown: Array, known_draws: Resamples, unknown_draws: Resamples
) -> Interval | None:
    """Interval of the AUROC of two separately drawn kinds of pills."""
    if known_draws.counts.shape[1] < 2 or unknown_draws.counts.shape[1] < 2:
        return None
    order = np.argsort(known, kind="stable")
    below = np.searchsorted(known[order], unknown, side="left")
    at_or_below = np.searchsorted(known[order], unknown, side="right")

    def once(of_known: Array, of_unknown: Array) -> float:
        reached = np.r_[0.0, np.cumsum(of_known[order])]
        lost = (reached[below] + reached[at_or_below]) / 2
        pairs = reached[-1] * of_unknown.sum()
        return float(1 - (lost * of_unknown).sum() / pairs) if pairs else float("nan")

    return _by_round(known_draws, unknown_draws, once)


def average_precision(
    frames: Resamples, score: Array, matched: Array, frame: Array, labelled: Array
) -> Interval | None:
    """Interval of AP at one IoU; `frame[i]` of found box i, `labelled[f]` boxes of frame f."""
    if frames.counts.shape[1] < 2:
        return None
    order = np.argsort(-score, kind="stable")
    score, matched, frame = score[order], matched[order], frame[order]

    def once(weight: Array, _: Array) -> float:
        boxes = float(weight @ labelled)
        value = metrics.average_precision(score, matched, boxes, weight[frame])
        return float("nan") if value is None else value

    return _by_round(frames, frames, once)


def _by_round(a: Resamples, b: Resamples, once: Callable[[Array, Array], float]) -> Interval | None:
    pairs = zip(a.counts, b.counts, strict=True)
    values = [once(of_a[a.group_of], of_b[b.group_of]) for of_a, of_b in pairs]
    return interval(np.array(values))
