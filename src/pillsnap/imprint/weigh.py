"""How much likelier the verdict on its imprint makes a class."""

from dataclasses import asdict, dataclass

import numpy as np
from pydantic import PositiveFloat

from pillsnap.arrays import Array, Floats


@dataclass(frozen=True)
class Ratios:
    """P(verdict | this drug) / P(verdict | another candidate)."""

    agrees: PositiveFloat
    unsure: PositiveFloat
    contradicts: PositiveFloat


CANDIDATES = 5  # likeliest classes of a pill, whose imprints are compared
RATIOS = Ratios(16.0, 0.5, 0.02)  # of the demo's val, benchmarks/imprints.py


def weighed(chances: Floats, verdicts: Array, ratios: Ratios) -> Floats:
    """Probabilities of the candidates of each pill by Bayes' rule, [n, k]: each times the ratio of
    the verdict on its imprint, str [n, k]. Classes that are no candidate keep their share."""
    weights = chances * np.vectorize(asdict(ratios).__getitem__, otypes=[float])(verdicts)
    others = np.maximum(0.0, 1 - chances.sum(axis=1)) * ratios.unsure
    return np.asarray(weights / (weights.sum(axis=1) + others)[:, None])
