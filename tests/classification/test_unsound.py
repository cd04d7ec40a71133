import math

import pytest
import torch

from make.small_training import STEPS, change_gradients, epochs, fit, fit_in_two, plan, spoil
from pillsnap.classification import train, trainer
from pillsnap.errors import MachineError
from pillsnap.training import checkpoints
from pillsnap.training.checkpoints import WorkFolder
from pillsnap.training.safe_step import all_finite

UNUSABLE = "Epoch 2 is unusable even after going back to the last checkpoint"


def ends_the_same(tmp_path, crops_dir, the_plan, monkeypatch, at_step):
    """Train undisturbed, then interrupted after `at_step` steps; the metrics of the epochs."""
    whole = fit(tmp_path / "whole", crops_dir, the_plan)
    cut, _ = fit_in_two(monkeypatch, at_step, tmp_path / "cut", crops_dir, the_plan)
    assert checkpoints.weights_hash(cut.weights) == checkpoints.weights_hash(whole.weights)
    assert all(tensor.isfinite().all() for tensor in whole.weights.values())
    found, again = epochs(tmp_path / "whole"), epochs(tmp_path / "cut")
    assert [one["loss/train"] for one in found] == [one["loss/train"] for one in again]
    assert all(math.isfinite(one["loss/train"]) for one in found)
    return found


@pytest.mark.parametrize(("bad", "at_step"), [(2, 3), (2, 7), (4, 5), (STEPS - 1, 7)])
def test_an_infinite_gradient_skips_its_step(tmp_path, crops_dir, monkeypatch, bad, at_step):
    change_gradients(monkeypatch, lambda one: one.global_step == bad and spoil(one))
    found = ends_the_same(tmp_path, crops_dir, plan(), monkeypatch, at_step)
    assert [epoch["skipped_steps"] for epoch in found] == [int(bad // 3 == i) for i in range(3)]


@pytest.mark.slow
def test_an_infinite_gradient_late_in_a_long_training_skips_its_step(
    tmp_path, crops_dir, monkeypatch
):
    bad = (3, 500, 60 * STEPS - 1)
    change_gradients(monkeypatch, lambda one: one.global_step in bad and spoil(one))
    found = ends_the_same(tmp_path, crops_dir, plan(repeats=60), monkeypatch, at_step=505)
    assert [epoch["skipped_steps"] for epoch in found] == [1, 0, 2]


@pytest.mark.parametrize("whole", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_overflows_of_fp16_at_the_start_are_skipped(tmp_path, crops_dir, monkeypatch, whole):
    monkeypatch.setattr(trainer, "FIRST_LOSS_SCALE", 1.2 * 2**18)  # half of it is small enough
    half = plan(dtype=torch.float16, epochs=whole)
    found = ends_the_same(tmp_path, crops_dir, half, monkeypatch, at_step=4 * whole - 3)
    assert [epoch["skipped_steps"] for epoch in found] == [1, 0][:whole]


def answer(monkeypatch, logits, times):
    """Replace the logits on val after the second epoch, the first `times` times."""
    measure, calls = train.measure, []

    class Answering(torch.nn.Module):
        def forward(self, inputs):
            return logits.expand(len(inputs), 4)

    def replaced(model, *others):
        calls.append(model)
        return measure(Answering() if 2 <= len(calls) < 2 + times else model, *others)

    monkeypatch.setattr(train, "measure", replaced)


def spoil_steps(monkeypatch, times):
    """Infinite gradients in all steps of the second epoch but its first, `times` times."""
    left = [2 * times]

    def change(one):
        if one.epoch == 1 and one.step and left[0]:
            left[0] -= 1
            spoil(one)

    change_gradients(monkeypatch, change)


def spoil_logits(monkeypatch, times):
    """A NaN in every row of logits on val after the second epoch, `times` times."""
    answer(monkeypatch, torch.tensor([0.0, 1.0, math.nan, 0.0]), times)


REASONS = {
    spoil_steps: "2 of 3 steps had a loss or gradient",
    spoil_logits: "the logits of 24 of 24 val crops",
}


@pytest.mark.parametrize("at_step", [3, 4, 7])
@pytest.mark.parametrize("spoil", REASONS)
def test_a_bad_epoch_is_repeated(tmp_path, crops_dir, undisturbed, monkeypatch, spoil, at_step):
    spoil(monkeypatch, times=1)
    trained, _ = fit_in_two(monkeypatch, at_step, tmp_path, crops_dir, plan())
    assert checkpoints.weights_hash(trained.weights) == undisturbed
    repeated = f"Epoch 2 is repeated from the last checkpoint: {REASONS[spoil]}"
    assert (tmp_path / "live/events.jsonl").read_text().count(repeated) == 1
    assert [epoch["skipped_steps"] for epoch in epochs(tmp_path)] == [0, 0, 0]


@pytest.mark.parametrize("spoil", REASONS)
def test_an_epoch_bad_twice_is_refused(tmp_path, crops_dir, undisturbed, monkeypatch, spoil):
    spoil(monkeypatch, times=2)
    with pytest.raises(MachineError, match=f"{UNUSABLE}: {REASONS[spoil]}") as refused:
        fit(tmp_path, crops_dir, plan())
    assert refused.value.cure.startswith("Repeat the command: it resumes from the last checkpoint")
    trained = fit(tmp_path, crops_dir, plan())
    assert checkpoints.weights_hash(trained.weights) == undisturbed


@pytest.mark.parametrize(
    ("asked", "cure"),
    [
        ({"lr": 1e30}, r"lower train\.lr \(is 1e\+30\)"),
        ({"dtype": torch.float16, "batch_size": 48}, r"or set train\.mixed_precision=off"),
    ],
)
def test_a_setting_that_never_works_is_refused(tmp_path, crops_dir, monkeypatch, asked, cure):
    change_gradients(monkeypatch, lambda one: one.plan.dtype is torch.float16 and spoil(one))
    with pytest.raises(MachineError, match=cure):
        fit(tmp_path / "bad", crops_dir, plan(**asked))
    assert fit(tmp_path / "default", crops_dir, plan(epochs=1)).metrics["top1"] > 0


@pytest.mark.parametrize("at_step", [2, 5])
def test_constant_logits_are_never_right_nor_best(tmp_path, crops_dir, monkeypatch, at_step):
    answer(monkeypatch, torch.zeros(4), times=1)
    trained, _ = fit_in_two(monkeypatch, at_step, tmp_path, crops_dir, plan())
    assert epochs(tmp_path)[1]["top1"] == 0
    assert trained.epoch != 2


def test_weights_that_are_not_finite_are_never_stored(tmp_path, crops_dir, monkeypatch):
    def change(one):
        if one.epoch == 1 and one.step == 2:
            one.average.module.state_dict()["conv1.0.weight"].fill_(math.nan)

    change_gradients(monkeypatch, change)
    with pytest.raises(MachineError, match="weights or the optimizer's state are not finite"):
        fit(tmp_path, crops_dir, plan())
    state, damaged = WorkFolder("c", "f", tmp_path).load()
    assert (state["epoch"], state["step"], damaged) == (1, 0, [])
    assert all_finite(state)
