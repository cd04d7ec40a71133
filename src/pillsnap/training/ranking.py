"""The rank of the true class among a classifier's logits; for torch tensors and numpy arrays."""

import math
from typing import Any


def ranks(logits: Any, own: Any) -> Any:
    """How many other classes score at least as high as the true one, [n, classes], [n, 1] -> [n].

    `own` are the true classes' logits. Ties count against the model: one that gives all classes
    the same logit is never right. In a row with a logit that is not finite the true class is last.
    """
    bad = non_finite(logits)
    return ((logits >= own).sum(1) - 1) * ~bad + logits.shape[1] * bad


def non_finite(logits: Any) -> Any:
    """Whether a row has a logit that is NaN or infinite, [n, classes] -> [n]."""
    return ~(abs(logits) < math.inf).all(1)
