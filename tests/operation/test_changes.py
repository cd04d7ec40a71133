"""Which keys a run changes, and how they are written for DVC."""

import pytest

from pillsnap.errors import ParameterError
from pillsnap.operation import changes

TREE = {
    "scale": "demo",
    "train": {"epochs": 18, "lr": None},
    "scales": {"demo": {"lr": 3e-3}, "stage1": {"lr": 3e-4}},
}


def test_a_value_already_in_force_changes_nothing():
    assert changes.of({"scale": "demo", "train.epochs": 18}, TREE) == {}


def test_the_scales_learning_rate_is_in_force_where_train_has_none():
    assert changes.of({"train.lr": 3e-3}, TREE) == {}
    assert changes.of({"train.lr": 3e-4}, TREE) == {"train.lr": 3e-4}


def test_the_learning_rate_of_the_wanted_scale_counts():
    wanted = {"scale": "stage1", "train.lr": 3e-4}
    assert changes.of(wanted, TREE) == {"scale": "stage1"}


def test_an_option_that_was_not_given_changes_nothing():
    assert changes.of({"scale": None, "train.epochs": None, "train.lr": 3e-3}, TREE) == {}


def test_changes_are_applied_to_a_copy():
    changed = changes.applied(TREE, {"train.epochs": 2})
    assert (changed["train"]["epochs"], TREE["train"]["epochs"]) == (2, 18)


def test_a_scale_that_does_not_exist_is_refused():
    with pytest.raises(ParameterError, match="known scales are demo, stage1"):
        changes.applied(TREE, {"scales.stage9.classifier_weights": "x.pt"})


def test_settings_are_written_as_hydra_reads_them():
    changed = {"scale": "stage1", "train.lr": 3e-5, "w": "my weights/it's=1.pt"}
    assert changes.as_settings(changed) == [
        "-S", "scale=stage1", "-S", "train.lr=3e-05", "-S", r"w='my weights/it\'s=1.pt'",
    ]  # fmt: skip
