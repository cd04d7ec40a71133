"""Losses, gradients and logits that are not finite: skipped, repeated once, then refused."""

import math

import pytest
import torch

from make.small_training import (
    STEPS,
    change_gradients,
    epochs,
    fit,
    interrupt_at,
    plan,
    spoil,
)
from pillsnap.classification import train, trainer
from pillsnap.errors import MachineError
from pillsnap.training import checkpoints
from pillsnap.training.checkpoints import WorkFolder
from pillsnap.training.safe_step import all_finite

UNUSABLE = "Epoch 2 is unusable even after going back to the last checkpoint"


def ends_the_same(tmp_path, crops_dir, the_plan, monkeypatch, at_step):
    """Train undisturbed, then interrupted after `at_step` steps; the metrics of the epochs."""
    whole = fit(tmp_path / "whole", crops_dir, the_plan)
    interrupt_at(monkeypatch, at_step)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", crops_dir, the_plan)
    cut = fit(tmp_path / "cut", crops_dir, the_plan)
    assert checkpoints.weights_hash(cut.weights) == checkpoints.weights_hash(whole.weights)
    assert all(tensor.isfinite().all() for tensor in whole.weights.values())
    found, again = epochs(tmp_path / "whole"), epochs(tmp_path / "cut")
    assert [one["loss/train"] for one in found] == [one["loss/train"] for one in again]
    assert all(math.isfinite(one["loss/train"]) for one in found)
    return found


@pytest.mark.parametrize(("bad", "at_step"), [(2, 3), (2, 7), (4, 5), (STEPS - 1, 7)])
def test_a_step_with_an_infinite_gradient_is_skipped(
    tmp_path, crops_dir, undisturbed, monkeypatch, bad, at_step
):
    change_gradients(monkeypatch, lambda one: one.global_step == bad and spoil(one))
    found = ends_the_same(tmp_path, crops_dir, plan(), monkeypatch, at_step)
    assert [epoch["skipped_steps"] for epoch in found] == [int(bad // 3 == i) for i in range(3)]


@pytest.mark.parametrize(
    ("epochs_", "at_step"), [(1, 1), pytest.param(2, 5, marks=pytest.mark.slow)]
)
def test_overflows_of_fp16_at_the_start_are_skipped(
    tmp_path, crops_dir, monkeypatch, epochs_, at_step
):
    monkeypatch.setattr(trainer, "FIRST_LOSS_SCALE", 1.2 * 2**18)  # half of it is small enough
    half = plan(dtype=torch.float16, epochs=epochs_)
    found = ends_the_same(tmp_path, crops_dir, half, monkeypatch, at_step)
    assert [epoch["skipped_steps"] for epoch in found] == [1, 0][:epochs_]


def spoil_most_of(epoch, times):
    """Infinite gradients in all steps of an epoch but its first, the first `times` times."""
    left = [2 * times]

    def change(one):
        if one.epoch == epoch and one.step and left[0]:
            left[0] -= 1
            spoil(one)

    return change


@pytest.mark.parametrize("at_step", [3, 4, 7])
def test_an_epoch_of_skipped_steps_is_repeated_once(
    tmp_path, crops_dir, undisturbed, monkeypatch, at_step
):
    change_gradients(monkeypatch, spoil_most_of(epoch=1, times=1))
    interrupt_at(monkeypatch, at_step)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, crops_dir, plan())
    trained = fit(tmp_path, crops_dir, plan())
    assert checkpoints.weights_hash(trained.weights) == undisturbed
    repeated = "Epoch 2 is repeated from the last checkpoint: 2 of 3 steps had a loss or gradient"
    assert (tmp_path / "live/events.jsonl").read_text().count(repeated) == 1
    assert [epoch["skipped_steps"] for epoch in epochs(tmp_path)] == [0, 0, 0]


def fails_twice(tmp_path, crops_dir, monkeypatch):
    change_gradients(monkeypatch, spoil_most_of(epoch=1, times=2))
    with pytest.raises(MachineError, match=f"{UNUSABLE}: 2 of 3 steps") as refused:
        fit(tmp_path, crops_dir, plan())
    return refused.value.cure


def test_an_epoch_that_fails_twice_is_refused_and_a_repeat_resumes(
    tmp_path, crops_dir, undisturbed, monkeypatch
):
    cure = fails_twice(tmp_path, crops_dir, monkeypatch)
    assert cure.startswith("Repeat the command: it resumes from the last checkpoint")
    trained = fit(tmp_path, crops_dir, plan())
    assert checkpoints.weights_hash(trained.weights) == undisturbed


def test_a_rate_that_is_too_high_is_refused_and_a_lower_one_is_the_cure(tmp_path, crops_dir):
    with pytest.raises(MachineError, match=r"lower train\.lr \(is 1e\+30\)"):
        fit(tmp_path / "high", crops_dir, plan(lr=1e30))
    assert fit(tmp_path / "low", crops_dir, plan(lr=3e-3, epochs=1)).metrics["top1"] > 0


def test_half_precision_that_always_overflows_is_refused_and_float32_is_the_cure(
    tmp_path, crops_dir, monkeypatch
):
    change_gradients(monkeypatch, lambda one: one.plan.dtype is torch.float16 and spoil(one))
    with pytest.raises(MachineError, match=r"or set train\.mixed_precision=off"):
        fit(tmp_path / "fp16", crops_dir, plan(dtype=torch.float16, batch_size=48))
    assert fit(tmp_path / "float32", crops_dir, plan(epochs=1)).metrics["top1"] > 0


def answer(monkeypatch, logits, epoch, times):
    """Replace the logits on val in an epoch, the first `times` times."""
    measure, left = train.measure, [times]

    class Answering(torch.nn.Module):
        def forward(self, inputs):
            return logits.expand(len(inputs), 4)

    def replaced(model, normalise, batches, the_plan):
        if left[0] and len(seen) == epoch:
            left[0] -= 1
            model = Answering()
        else:
            seen.append(epoch)
        return measure(model, normalise, batches, the_plan)

    seen = []
    monkeypatch.setattr(train, "measure", replaced)


NAN_LOGITS = torch.tensor([0.0, 1.0, math.nan, 0.0])


@pytest.mark.parametrize("at_step", [4, 7])
def test_logits_that_are_not_finite_are_measured_again(
    tmp_path, crops_dir, undisturbed, monkeypatch, at_step
):
    answer(monkeypatch, NAN_LOGITS, epoch=1, times=1)
    interrupt_at(monkeypatch, at_step)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, crops_dir, plan())
    trained = fit(tmp_path, crops_dir, plan())
    assert checkpoints.weights_hash(trained.weights) == undisturbed


def test_logits_that_are_never_finite_are_refused_and_a_repeat_resumes(
    tmp_path, crops_dir, undisturbed, monkeypatch
):
    answer(monkeypatch, NAN_LOGITS, epoch=1, times=2)
    with pytest.raises(MachineError, match=f"{UNUSABLE}: the logits of 24 of 24 val crops"):
        fit(tmp_path, crops_dir, plan())
    trained = fit(tmp_path, crops_dir, plan())
    assert checkpoints.weights_hash(trained.weights) == undisturbed


@pytest.mark.parametrize("at_step", [2, 5])
def test_constant_logits_are_never_right_and_never_kept_as_best(
    tmp_path, crops_dir, monkeypatch, at_step
):
    answer(monkeypatch, torch.zeros(4), epoch=1, times=1)
    interrupt_at(monkeypatch, at_step)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, crops_dir, plan())
    trained = fit(tmp_path, crops_dir, plan())
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
