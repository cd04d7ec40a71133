"""The checklist's weights: what the trainings could not load fails before them."""

import pytest
import timm
import torch

from make.made_project import loaded, make_project
from pillsnap import params
from pillsnap.operation import check_weights
from pillsnap.training import checkpoints

BROKEN = {
    "absent": None,
    "empty": b"",
    "text": b"no weights",
    "another model": {"conv.weight": torch.zeros(2, 2)},
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(make_project(tmp_path))
    return tmp_path


def check(project, scale="demo", **of_scale):
    scales = params.read(project / "params.yaml")["scales"]
    scales[scale] |= of_scale
    classifier, detector = check_weights.check(loaded(project, scale=scale, scales=scales), project)
    return classifier, detector


def test_weights_from_scratch_pass(project):
    assert [point.status for point in check(project)] == ["pass", "pass"]


@pytest.mark.parametrize("form", BROKEN)
@pytest.mark.parametrize("kind", ["classifier_weights", "detector_weights"])
def test_a_file_that_the_training_would_refuse_fails_with_its_words(project, kind, form):
    content = BROKEN[form]
    if isinstance(content, bytes):
        (project / "mine.pt").write_bytes(content)
    elif content:
        torch.save(content, project / "mine.pt")
    point = check(project, **{kind: "mine.pt"})[kind == "detector_weights"]
    assert point.status == "fail"
    assert "mine.pt" in point.value
    assert not point.cure.startswith("Delete") or "downloaded" in point.cure


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_weights_that_can_be_read_pass(project, ending):
    model = timm.create_model("test_resnet", num_classes=7)
    if ending == ".pt":
        torch.save(model.state_dict(), project / "mine.pt")
    else:
        from safetensors.torch import save_file

        save_file(model.state_dict(), project / "mine.safetensors")
    point, _ = check(project, classifier_weights=f"mine{ending}")
    assert (point.status, point.value) == ("pass", f"mine{ending}, read")


def test_a_checkpoint_of_ours_is_a_start(project):
    weights = timm.create_model("test_resnet", num_classes=24).state_dict()
    checkpoints.publish(project / "mine.pt", weights, {"kind": "classification"})
    assert check(project, classifier_weights="mine.pt")[0].status == "pass"


def test_a_model_that_timm_does_not_know_fails(project):
    for weights in (None, "hub"):
        point, _ = check(project, classifier="efficientnet_zz", classifier_weights=weights)
        assert (point.status, "timm knows no model" in point.value) == ("fail", True)


@pytest.mark.slow  # builds the model of stage 1
def test_hub_weights_that_were_never_downloaded_fail_offline(project):
    point, _ = check(project, "stage1", detector_weights=None)
    assert (point.status, "scales.stage1.classifier_weights" in point.cure) == ("fail", True)


def test_hub_weights_that_were_downloaded_are_read(project):
    revision = project / "hub/models--timm--test_resnet.r160_in1k"
    (revision / "snapshots/abc").mkdir(parents=True)
    (revision / "refs").mkdir()
    (revision / "refs/main").write_text("abc")
    (revision / "snapshots/abc/model.safetensors").write_bytes(b"cut short")
    point, _ = check(project, classifier="test_resnet.r160_in1k", classifier_weights="hub")
    assert point.status == "fail"
    assert "test_resnet.r160_in1k" in point.value
