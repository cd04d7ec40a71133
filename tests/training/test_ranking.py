import math

import numpy as np
import pytest
import torch

from pillsnap.training import ranking

TRUTH = [2, 0, 1]


def ranks(logits, kind):
    if kind == "numpy":
        logits = np.asarray(logits, np.float32)
        return ranking.ranks(logits, np.take_along_axis(logits, np.c_[TRUTH], 1)).tolist()
    logits = torch.tensor(logits)
    return ranking.ranks(logits, logits.gather(1, torch.tensor(TRUTH)[:, None])).tolist()


@pytest.mark.parametrize("kind", ["torch", "numpy"])
@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [0.3, 0.2, 0.1]], [0, 2, 1]),
        ([[1.0, 1.0, 1.0], [2.0, 2.0, 1.0], [3.0, 2.0, 2.0]], [2, 1, 2]),  # ties
        *(([[bad, 0.0, 1.0], [bad, 0.0, 1.0], [0.0, 9.0, 1.0]], [3, 3, 0])
          for bad in (math.nan, math.inf, -math.inf)),
    ],
)  # fmt: skip
def test_the_rank_is_the_number_of_other_classes_at_least_as_high(kind, rows, expected):
    assert ranks(rows, kind) == expected
