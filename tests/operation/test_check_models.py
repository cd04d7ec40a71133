"""The checklist's points about both models: their weights, time on a CPU, learning rate."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from make.made_project import loaded
from pillsnap import params
from pillsnap.operation import check_models
from pillsnap.training import checkpoints


@pytest.fixture
def check(project):
    """Checks a scale with some of its keys changed: the points of both models' weights."""

    def run(scale="demo", **of_scale):
        scales = params.read(project / "params.yaml")["scales"]
        scales[scale] |= of_scale
        return check_models.weights(loaded(project, scale=scale, scales=scales), project)

    return run


@pytest.mark.parametrize("name", ["absent.pt", "params.yaml", "another_model.pt"])
@pytest.mark.parametrize("kind", ["classifier_weights", "detector_weights"])
def test_a_file_that_the_training_would_refuse_fails_with_its_words(check, kind, name):
    torch.save({"conv.weight": torch.zeros(2, 2)}, "another_model.pt")
    point = check(**{kind: name})[kind == "detector_weights"]
    assert (point.status, name in point.value) == ("fail", True)
    assert not point.cure.startswith("Delete") or "downloaded" in point.cure


def publish(weights, path):
    checkpoints.publish(path, weights, {"kind": "classification"})


@pytest.mark.parametrize(
    ("name", "save", "classes"),
    [("a.pt", torch.save, 7), ("a.safetensors", save_file, 7), ("ours.pt", publish, 24)],
)
def test_weights_that_can_be_read_pass_and_so_does_none(check, name, save, classes):
    save(timm.create_model("test_resnet", num_classes=classes).state_dict(), Path(name))
    points = check(classifier_weights=name)
    assert [point.status for point in points] == ["pass", "pass"]
    assert [point.value for point in points] == [f"{name}, read", "from scratch"]


CUT = "test_resnet.r160_in1k"  # downloaded before, but not whole


@pytest.mark.parametrize(
    ("scale", "changes", "word"),
    [
        ("demo", {"classifier": "efficientnet_zz"}, "timm knows no model"),
        ("demo", {"classifier": "efficientnet_zz", "classifier_weights": "hub"}, "timm knows no"),
        ("demo", {"classifier": CUT, "classifier_weights": "hub"}, CUT),
        pytest.param("stage1", {"detector_weights": None}, "HF_HUB_OFFLINE",
                     marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_an_unknown_model_and_hub_weights_that_are_absent_or_damaged_fail(
    tmp_path, check, scale, changes, word
):
    revision = tmp_path / f"hub/models--timm--{CUT}"
    (revision / "snapshots/abc").mkdir(parents=True)
    (revision / "refs").mkdir()
    (revision / "refs/main").write_text("abc")
    (revision / "snapshots/abc/model.safetensors").write_bytes(b"cut short")
    point, _ = check(scale, **changes)
    assert (point.status, word in point.value) == ("fail", True)
    assert "scales.stage1.classifier_weights" in point.cure or scale == "demo"


@pytest.mark.parametrize(
    ("minutes", "cores", "status", "value"),
    [
        (1000, 16, "pass", "on the CPU at least 62 min with 16 cores, 17 h with one"),
        (121, 1, "warn", "121 min with one; the goal is 120 min"),
    ],
)
def test_a_goal_that_all_cores_cannot_reach_is_a_warning(minutes, cores, status, value):
    point = check_models.judge(minutes, cores, 120)
    assert (point.status, value in point.value) == (status, True)


@pytest.mark.parametrize("detector", ["yolo11n", "yolo26n"])
def test_work_of_minutes_passes_at_any_scale_and_more_of_it_is_a_warning(
    project, monkeypatch, detector
):
    monkeypatch.setattr(check_models, "on_gpu", lambda _: False)
    params = loaded(project, scale="stage4")
    small = {**params.scales["demo"].model_dump(), "samples": 100, "detector": detector,
             "detection_single_frames": 10}  # fmt: skip
    few = loaded(project, scale="stage4", scales={"stage4": small}, train={"epochs": 1})
    many = loaded(project, scale="stage4", scales={"stage4": {**small, "samples": 10**9}})
    threads = torch.get_num_threads()
    points = [check_models.training_time(p, project)[0] for p in (few, many)]
    assert [point.status for point in points] == ["pass", "warn"]
    assert torch.get_num_threads() == threads
    monkeypatch.setattr(check_models, "on_gpu", lambda _: True)
    assert check_models.training_time(many, project) == []


def test_another_batch_size_is_offered_the_rate_by_the_square_root(project):
    def points(**train):
        params = loaded(project, scale="stage3", train=train)
        return check_models.learning_rate(params, project)

    assert points() == points(batch_size=32) == points(batch_size="auto") == []
    (point,) = points(batch_size=128)
    assert point.status == "warn"
    assert point.cure.endswith("dvc exp run -S train.batch_size=128 -S train.lr=6.0e-04")
    assert points(batch_size=128, lr=6.0e-04) == []
