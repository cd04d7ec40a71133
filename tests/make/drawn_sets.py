"""Drawn test sets, and how many of them have the truth inside their 95 % interval.

Pills of a group are correlated by 0.05 to 0.1: design effects of 1.4 to 1.7, as on the demo's val.
"""

from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from pillsnap.evaluation import intervals, metrics
from pillsnap.evaluation.intervals import Interval

CORRELATIONS = (0.05, 0.1)
Found = tuple[float, Interval]  # the truth, or the metric where the truth is its mean; its interval


def coverage(kind: str, groups: int, value: float, sets: int) -> float:
    """Share of `sets` drawn sets whose interval contains the truth, 0..1."""
    rng = np.random.default_rng([groups, round(1000 * value)])
    found = [KINDS[kind](groups, value, rng) for _ in range(sets)]
    # Macro F1 and AP of few pills are biased, and AP at infinity jumps with every recall point
    mean = np.mean([one for one, _ in found]) if kind in ("macro_f1", "average_precision") else None
    truths = [one if mean is None else mean for one, _ in found]
    inside = [i.low <= t <= i.high for t, (_, i) in zip(truths, found, strict=True)]
    return float(np.mean(inside))


def ratio(groups: int, value: float, rng: np.random.Generator) -> Found:
    """The truth is drawn around `value`: with a single one, coverage would jump with each pill."""
    true = 1 - (1 - value) * rng.uniform(0.5, 1.5)
    group = np.repeat(np.arange(groups), rng.integers(1, 13, groups))
    right = rng.random(len(group)) < _rates(true, groups, rng)[group]
    return true, intervals.ratio(right, np.ones(len(group)), group)


def macro_f1(groups: int, value: float, rng: np.random.Generator) -> Found:
    group = np.repeat(np.arange(groups), rng.integers(3, 13, groups))
    truth = group % 6
    right = rng.random(len(group)) < _rates(value, groups, rng)[group]
    named = np.where(right, truth, (truth + rng.integers(1, 6, len(group))) % 6)
    return metrics.macro_f1(named, truth), intervals.macro_f1(named, truth, group)


def auroc(groups: int, value: float, rng: np.random.Generator) -> Found:
    """Normal scores of 60 known groups of 3 pills, and of 18 pills of each of so many unknown
    codes, which differ by 0.8 where pills of a code differ by 1."""
    code, known_group = np.repeat(np.arange(groups), 18), np.repeat(np.arange(60), 3)
    shift = brentq(lambda by: ndtr(by / np.sqrt(2.25 + 0.64)) - value, 0, 40)
    unknown = rng.normal(-shift, 1, len(code)) + rng.normal(0, 0.8, groups)[code]
    known = rng.normal(0, 1, len(known_group)) + rng.normal(0, 0.5, 60)[known_group]
    return value, intervals.auroc(known, unknown, known_group, code)


def average_precision(groups: int, value: float, rng: np.random.Generator) -> Found:
    missed = {0.9: 0.09, 0.965: 0.03, 0.99: 0.011}[value]
    labelled = rng.integers(1, 5, groups * 3)
    hits = rng.binomial(labelled, np.repeat(_rates(1 - missed, groups, rng), 3))
    extra = rng.poisson(missed * labelled)
    score = np.r_[rng.beta(8, 2, hits.sum()), rng.beta(2, 3, extra.sum())]
    frame = np.concatenate([np.repeat(np.arange(3 * groups), n) for n in (hits, extra)])
    boxes = (score, np.arange(len(score)) < hits.sum(), frame, labelled)
    found = metrics.average_precision(*boxes[:2], labelled.sum())
    return found, intervals.average_precision(*boxes, np.arange(3 * groups) // 3, 60, 0)


def _rates(value: float, groups: int, rng: np.random.Generator) -> np.ndarray:
    precision = 1 / rng.choice(CORRELATIONS) - 1
    return rng.beta(value * precision, (1 - value) * precision, groups)


Draw = Callable[[int, float, np.random.Generator], Found]
KINDS: dict[str, Draw] = {f.__name__: f for f in (ratio, macro_f1, auroc, average_precision)}
