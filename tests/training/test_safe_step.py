import copy
import math

import pytest
import torch
from torch import nn

from pillsnap.training.safe_step import SafeStep, all_finite

GOOD, BAD = torch.ones(4, 3, 8, 8), torch.full((4, 3, 8, 8), torch.inf)


class Stepper:
    """A convolution and a batch norm, trained on the pictures that `step` is given."""

    def __init__(self):
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1, fused=True)
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        self.safe_step = SafeStep(self.model, self.optimizer, scaler, 1.0)

    def step(self, pictures, scale=1.0):
        self.optimizer.zero_grad()
        loss = self.model(pictures + torch.rand(pictures.shape)).square().mean() * scale
        loss.backward()
        return self.safe_step(loss.detach())

    def state(self):
        counters = {"1.num_batches_tracked"}
        model = {k: v for k, v in self.model.state_dict().items() if k not in counters}
        return copy.deepcopy([model, self.optimizer.state_dict()])


def same(one, other):
    try:
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize(("pictures", "scale"), [(BAD, 1.0), (GOOD, math.inf), (GOOD, math.nan)])
def test_a_step_that_is_not_finite_leaves_model_and_optimizer_as_they_were(pictures, scale):
    one = Stepper()
    assert not one.step(pictures, scale)  # as the first one, too
    assert all_finite(one.state())
    assert one.step(GOOD)
    before = one.state()
    assert not one.step(pictures, scale)
    assert same(one.state(), before)
    assert int(one.safe_step.skipped) == 2
    assert one.step(GOOD)
    assert not same(one.state(), before)


def test_a_forward_pass_is_taken_back_and_most_steps_skipped_are_a_reason_half_are_none():
    one = Stepper()
    one.step(GOOD)
    before = copy.deepcopy(one.model.state_dict())
    one.model(GOOD * 5)
    assert not same(one.model.state_dict(), before)
    one.safe_step.undo_forward()
    assert same(one.model.state_dict(), before)
    one.step(BAD)
    assert one.safe_step.unsound(2) is None
    one.step(BAD)
    assert one.safe_step.unsound(3).startswith("2 of 3 steps")
    one.safe_step.restart()
    assert one.safe_step.unsound(0) is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_one_number_that_is_not_finite_is_found_wherever_it_is(bad, dtype):
    state = {
        "a": [torch.zeros(3), {"b": torch.zeros(2, 2, dtype=dtype)}], "empty": torch.zeros(0),
        "count": torch.tensor(3), "plain": math.nan,
    }  # fmt: skip
    assert all_finite(state)
    state["a"][1]["b"][1, 0] = bad
    assert not all_finite(state)
