"""The rank of the true class: ties and logits that are not finite count against the model."""

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
class TestRanks:
    def test_the_rank_is_the_number_of_classes_above(self, kind):
        assert ranks([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [0.3, 0.2, 0.1]], kind) == [0, 2, 1]

    def test_ties_count_against_the_model(self, kind):
        assert ranks([[1.0, 1.0, 1.0], [2.0, 2.0, 1.0], [3.0, 2.0, 2.0]], kind) == [2, 1, 2]

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_a_logit_that_is_not_finite_makes_the_true_class_the_last(self, kind, bad):
        rows = [[bad, 0.0, 1.0], [bad, 0.0, 1.0], [0.0, 9.0, 1.0]]
        assert ranks(rows, kind) == [3, 3, 0]
