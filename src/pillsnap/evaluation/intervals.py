"""95 % intervals whose unit is the group: the capture group, or the K-code for unknown pills.

Wilson's intervals at the effective number of pills (pills / design effect), with Student's t for
groups - 1 degrees of freedom; where every group is right, the rule of three over groups. Variances
are linearised (AUROC: Obuchowski 1997), that of average precision is bootstrapped, because its 101
recall points are no smooth function. docs/evaluation.md gives the coverage in simulations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from pillsnap.arrays import Array, Bools, Floats, Ints
from pillsnap.evaluation import metrics

LEVEL = 0.975
RULE_OF_THREE = 0.05  # a share of 1 in n groups: the true one is above 0.05 ** (1 / n), 1 - 3 / n
FEW = 20  # groups: under it an interval says how many there are

Labels = Sequence[Any] | NDArray[Any]


@dataclass(frozen=True)
class Interval:
    """Limits of a metric in 0..1, and the number of independent groups it was measured on."""

    low: float
    high: float
    groups: int

    def __str__(self) -> str:
        few = f", {self.groups} groups only" if self.groups < FEW else ""
        return f"{self.low:.3f} to {self.high:.3f}{few}"


def ratio(part: Array, whole: Array, groups: Labels) -> Interval | None:
    """Interval of sum(part) / sum(whole), all [items]; `whole` counts pills, photos or the like.

    None with fewer than two groups that hold any.
    """
    held = np.asarray(whole) > 0
    part, whole = np.asarray(part, float)[held], np.asarray(whole, float)[held]
    group_of, count = _indexed(np.asarray(groups)[held])
    if count < 2:
        return None
    value = part.sum() / whole.sum()
    influence = (part - value * whole) / whole.sum()
    return _wilson(value, _variance(influence, group_of), count, whole.sum())


def macro_f1(predicted: Ints, truth: Ints, groups: Labels) -> Interval | None:
    """Interval of the mean F1 over the classes that occur in `truth`; None under two groups."""
    group_of, count = _indexed(groups)
    if count < 2:
        return None
    size = int(max(predicted.max(), truth.max())) + 1
    support, right = np.bincount(truth, minlength=size), predicted == truth
    total = support + np.bincount(predicted, minlength=size)
    f1 = 2 * np.bincount(truth, right, minlength=size) / np.maximum(total, 1)
    share = (support > 0) / np.maximum(total, 1) / np.count_nonzero(support)
    influence = share[truth] * (2 * right - f1[truth]) - share[predicted] * f1[predicted]
    return _wilson(float(f1[support > 0].mean()), _variance(influence, group_of), count, len(truth))


def average_precision(
    score: Floats,
    matched: Bools,
    frame: Ints,
    labelled: Array,
    groups: Labels,
    rounds: int,
    seed: int,
) -> Interval | None:
    """Interval of AP at one IoU; `frame[i]` of found box i, `labelled[f]` boxes in frame f and
    `groups[f]` its group. None with fewer than two groups or nothing labelled."""
    group_of, count = _indexed(groups)
    value = metrics.average_precision(score, matched, float(labelled.sum()))
    if count < 2 or value is None:
        return None
    order = np.argsort(-score, kind="stable")
    score, matched, frame = score[order], matched[order], frame[order]
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=rounds)
    values = []
    for drawn in draws.astype(np.float64):  # how often each group is drawn
        weight = drawn[group_of]
        one = metrics.average_precision(score, matched, weight @ labelled, weight[frame])
        values += [] if one is None else [one]
    variance = float(np.var(values)) * count / (count - 1)
    return _wilson(value, variance, count, float(labelled.sum()))


def auroc(known: Floats, unknown: Floats, known_groups: Labels, codes: Labels) -> Interval | None:
    """Interval of the AUROC for known pills in capture groups and unknown pills of some codes;
    None with fewer than two of either."""
    known_of, known_count = _indexed(known_groups)
    code_of, code_count = _indexed(codes)
    if min(known_count, code_count) < 2:
        return None
    above = metrics.share_above(known, unknown)  # of the known pills, for each unknown one
    below = 1 - metrics.share_above(unknown, known)
    value = float(above.mean())
    parts = [
        _variance((share - value) / len(share), group_of)
        for share, group_of in ((above, code_of), (below, known_of))
    ]
    return _wilson(value, sum(parts), code_count, len(unknown))


def _indexed(groups: Labels) -> tuple[Ints, int]:
    """Group index of each item, and the number of groups."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    return index.astype(np.int64), len(names)


def _variance(influence: Array, group_of: Ints) -> float:
    """Of a sum of items that are independent between groups only (linearisation)."""
    sums = np.bincount(group_of, influence)
    return float((sums**2).sum() * len(sums) / (len(sums) - 1))


def _wilson(value: float, variance: float, groups: int, units: float) -> Interval:
    """By the variance between groups, with Student's t; but never narrower than `units` independent
    pills would have it: a design effect under 1 is chance."""
    spread = value * (1 - value)
    if spread < 1e-12:
        limit = RULE_OF_THREE ** (1 / groups)
        return Interval(limit, 1.0, groups) if value > 0.5 else Interval(0.0, 1 - limit, groups)
    t, z = float(stdtrit(groups - 1, LEVEL)), float(ndtri(LEVEL))
    inverse = max(t**2 * variance / spread, z**2 / units)  # t squared over the effective number
    middle = (value + inverse / 2) / (1 + inverse)
    half = np.sqrt(inverse * spread + inverse**2 / 4) / (1 + inverse)
    return Interval(max(float(middle - half), 0.0), min(float(middle + half), 1.0), groups)
