"""Which keys a run changes, and how DVC is told."""

import pytest

from pillsnap.errors import ParameterError
from pillsnap.operation import changes as parameter_changes

TREE = {
    "scale": "demo",
    "train": {"epochs": 18, "lr": None},
    "scales": {"demo": {"lr": 3e-3}, "stage1": {"lr": 3e-4}},
}


def test_a_value_already_in_force_changes_nothing() -> None:
    assert parameter_changes.of({"scale": "demo", "train.epochs": 18}, TREE) == {}


def test_the_scales_learning_rate_is_in_force_where_train_has_none() -> None:
    assert parameter_changes.of({"train.lr": 3e-3}, TREE) == {}
    assert parameter_changes.of({"train.lr": 3e-4}, TREE) == {"train.lr": 3e-4}


def test_the_learning_rate_of_the_wanted_scale_counts() -> None:
    wanted = {"scale": "stage1", "train.lr": 3e-4}
    assert parameter_changes.of(wanted, TREE) == {"scale": "stage1"}


def test_a_rate_that_dvc_wrote_without_a_point_is_the_same_rate() -> None:
    assert parameter_changes.of({"train.lr": 3e-5}, {"train": {"lr": "3e-05"}}) == {}


def test_changes_are_applied_to_a_copy() -> None:
    changed = parameter_changes.applied(TREE, {"train.epochs": 2})
    assert (changed["train"]["epochs"], TREE["train"]["epochs"]) == (2, 18)


def test_a_scale_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ParameterError, match="known scales are demo, stage1"):
        parameter_changes.applied(TREE, {"scales.stage9.classifier_weights": "x.pt"})


def test_settings_are_written_as_hydra_reads_them() -> None:
    changes = {"scale": "stage1", "train.lr": 3e-5, "w": "my weights/it's=1.pt"}
    assert parameter_changes.as_settings(changes) == [
        "-S", "scale=stage1", "-S", "train.lr=3e-05", "-S", r"w='my weights/it\'s=1.pt'",
    ]  # fmt: skip
