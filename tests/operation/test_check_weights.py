"""The checklist's weights: what the trainings could not load fails before them."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from make.made_project import loaded, make_project
from pillsnap import params
from pillsnap.operation import check_weights
from pillsnap.training import checkpoints


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Checks a scale with some of its keys changed: the points of both models."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(make_project(tmp_path))

    def run(scale="demo", **of_scale):
        scales = params.read(tmp_path / "params.yaml")["scales"]
        scales[scale] |= of_scale
        return check_weights.check(loaded(tmp_path, scale=scale, scales=scales), tmp_path)

    return run


def test_weights_from_scratch_pass(check):
    assert [point.status for point in check()] == ["pass", "pass"]


BROKEN = {
    "absent": None, "empty": b"", "text": b"no weights",
    "another model": {"conv.weight": torch.zeros(2, 2)},
}  # fmt: skip


@pytest.mark.parametrize("form", BROKEN)
@pytest.mark.parametrize("kind", ["classifier_weights", "detector_weights"])
def test_a_file_that_the_training_would_refuse_fails_with_its_words(tmp_path, check, kind, form):
    content = BROKEN[form]
    if isinstance(content, bytes):
        (tmp_path / "mine.pt").write_bytes(content)
    elif content:
        torch.save(content, tmp_path / "mine.pt")
    point = check(**{kind: "mine.pt"})[kind == "detector_weights"]
    assert (point.status, "mine.pt" in point.value) == ("fail", True)
    assert not point.cure.startswith("Delete") or "downloaded" in point.cure


def publish(weights, path):
    checkpoints.publish(path, weights, {"kind": "classification"})


@pytest.mark.parametrize(
    ("name", "save", "classes"),
    [("a.pt", torch.save, 7), ("a.safetensors", save_file, 7), ("ours.pt", publish, 24)],
)
def test_weights_that_can_be_read_pass(tmp_path, check, name, save, classes):
    save(timm.create_model("test_resnet", num_classes=classes).state_dict(), tmp_path / name)
    point, _ = check(classifier_weights=name)
    assert (point.status, point.value) == ("pass", f"{name}, read")


@pytest.mark.parametrize("weights", [None, "hub"])
def test_a_model_that_timm_does_not_know_fails(check, weights):
    point, _ = check(classifier="efficientnet_zz", classifier_weights=weights)
    assert (point.status, "timm knows no model" in point.value) == ("fail", True)


@pytest.mark.slow  # builds the model of stage 1
def test_hub_weights_that_were_never_downloaded_fail_offline(check):
    point, _ = check("stage1", detector_weights=None)
    assert (point.status, "scales.stage1.classifier_weights" in point.cure) == ("fail", True)


def test_hub_weights_that_were_downloaded_are_read(tmp_path, check):
    revision = tmp_path / "hub/models--timm--test_resnet.r160_in1k"
    (revision / "snapshots/abc").mkdir(parents=True)
    (revision / "refs").mkdir()
    (revision / "refs/main").write_text("abc")
    (revision / "snapshots/abc/model.safetensors").write_bytes(b"cut short")
    point, _ = check(classifier="test_resnet.r160_in1k", classifier_weights="hub")
    assert (point.status, "test_resnet.r160_in1k" in point.value) == ("fail", True)
