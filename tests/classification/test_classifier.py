"""Start weights in the forms that other libraries save them in."""

import pytest
import torch

from pillsnap.classification import classifier
from pillsnap.errors import CheckpointError


def wrapped(weights):
    return {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in weights.items()}}


def renamed(weights):
    """Names of another library: only the kind of a tensor and the order are the same."""
    kinds = [name.rpartition(".")[2] for name in weights]
    return {f"_layer{at}.{kind}": value for (at, kind), value in
            zip(enumerate(kinds), weights.values(), strict=True)}  # fmt: skip


@pytest.mark.parametrize("form", [dict, wrapped, renamed, lambda w: wrapped(renamed(w))])
def test_weights_under_other_names_are_loaded(tmp_path, form):
    trained = classifier.build("test_resnet", 1000, None, 1).state_dict()
    torch.save(form(trained), tmp_path / "w.pth")
    loaded = classifier.build("test_resnet", 4, str(tmp_path / "w.pth"), 2).state_dict()
    same = [name for name in trained if torch.equal(loaded[name], trained[name])]
    assert len(same) == len(trained) - 2  # all but the head


def test_weights_of_another_model_are_refused_whatever_their_names(tmp_path):
    trained = renamed(classifier.build("test_vit", 10, None, 1).state_dict())
    torch.save(trained, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="of another model"):
        classifier.build("test_resnet", 4, str(tmp_path / "w.pth"), 2)
