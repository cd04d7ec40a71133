"""Which keys a run changes, and how they are written for DVC."""

import pytest

from pillsnap.errors import ParameterError
from pillsnap.operation import changes

TREE = {
    "scale": "demo",
    "train": {"epochs": 18, "lr": None},
    "scales": {"demo": {"lr": 3e-3}, "stage1": {"lr": 3e-4}},
}


@pytest.mark.parametrize(
    ("wanted", "changed"),
    [
        ({"scale": "demo", "train.epochs": None}, {}),
        ({"train.lr": 3e-3}, {}),  # the scale's, where train has none
        ({"train.lr": 3e-4}, {"train.lr": 3e-4}),
        ({"scale": "stage1", "train.lr": 3e-4}, {"scale": "stage1"}),  # of the wanted scale
    ],
)
def test_only_values_that_differ_are_changes(wanted, changed):
    assert changes.of(wanted, TREE) == changed


def test_changes_are_applied_to_a_copy():
    changed = changes.applied(TREE, {"train.epochs": 2})
    assert (changed["train"]["epochs"], TREE["train"]["epochs"]) == (2, 18)
    with pytest.raises(ParameterError, match="known scales are demo, stage1"):
        changes.applied(TREE, {"scales.stage9.classifier_weights": "x.pt"})


def test_settings_are_written_as_hydra_reads_them():
    changed = {"scale": "stage1", "train.lr": 3e-5, "w": "my weights/it's=1.pt"}
    written = ["scale=stage1", "train.lr=3e-05", r"w='my weights/it\'s=1.pt'"]
    assert changes.as_settings(changed) == [part for one in written for part in ("-S", one)]
