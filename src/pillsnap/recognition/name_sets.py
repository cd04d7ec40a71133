"""Sets of names that contain the right one with a promised risk (conformal prediction).

A class is in the set of a pill if its calibrated probability is at least a limit: the least
ambiguous sets (LAC) of Sadinle, Lei & Wasserman 2019. The limit is fitted on pills that were not
trained on, so the promise ends where a user's photos differ from those.
"""

import numpy as np
from numpy.typing import NDArray

from pillsnap.arrays import Bools, Floats


def limit(of_truth: Floats, risk: float) -> float:
    """The limit whose sets miss the true class with at most `risk`.

    `of_truth` [n]: probability of the true class. Fewer than 1 / risk - 1 pills can promise
    1 / (n + 1) only: the limit is then the lowest probability seen. 0 without pills.
    """
    if not len(of_truth):
        return 0.0
    allowed_misses = int((len(of_truth) + 1) * risk)
    return float(np.sort(of_truth)[max(allowed_misses, 1) - 1])


def members(probabilities: NDArray[np.float64], least: float) -> Bools:
    """Which classes are in the set of each pill, [n, classes]; the likeliest always is."""
    inside = probabilities >= least
    inside[np.arange(len(inside)), probabilities.argmax(axis=1)] = True
    return np.asarray(inside)
