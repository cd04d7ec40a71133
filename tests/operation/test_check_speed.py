"""The checklist's training time on a CPU: by the work to do, never by the scale's name."""

import pytest
import torch

from make.made_project import loaded, make_project
from pillsnap.operation import check_speed


@pytest.mark.parametrize(
    ("minutes", "cores", "status"),
    [(100, 1, "pass"), (1000, 16, "pass"), (121, 1, "warn"), (10_000, 16, "warn")],
)
def test_a_goal_that_all_cores_cannot_reach_is_a_warning(minutes, cores, status):
    assert check_speed.judge(minutes, cores, 120).status == status


def test_the_estimate_names_both_bounds():
    point = check_speed.judge(6000, 4, 120)
    assert point.value == (
        "on the CPU at least 25 h with 4 cores, 100 h with one; the goal is 120 min"
    )


def test_the_rate_falls_with_the_area_and_threads_stay_as_they_were():
    model = torch.nn.Conv2d(3, 8, 3, padding=1)
    threads = torch.get_num_threads()
    rates = [check_speed.pictures_per_s(model, px) for px in (128, 1280)]
    assert rates[0] > 10 * rates[1] > 0
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("detector", ["yolo11n", "yolo26n"])
def test_work_of_minutes_passes_at_any_scale_and_more_of_it_is_a_warning(
    tmp_path, monkeypatch, detector
):
    monkeypatch.setattr(check_speed, "on_gpu", lambda _: False)
    params = loaded(make_project(tmp_path), scale="stage4")
    small = {**params.scales["demo"].model_dump(), "samples": 100, "detector": detector,
             "detection_single_frames": 10}  # fmt: skip
    few = loaded(tmp_path, scale="stage4", scales={"stage4": small}, train={"epochs": 1})
    many = loaded(tmp_path, scale="stage4", scales={"stage4": {**small, "samples": 10**9}})
    assert [check_speed.check(p, tmp_path)[0].status for p in (few, many)] == ["pass", "warn"]
    monkeypatch.setattr(check_speed, "on_gpu", lambda _: True)
    assert check_speed.check(many, tmp_path) == []


def test_another_batch_size_is_offered_the_rate_by_the_square_root(tmp_path):
    def points(**train):
        params = loaded(tmp_path, scale="stage3", train=train)
        return check_speed.learning_rate(params, tmp_path)

    make_project(tmp_path)
    assert points() == points(batch_size=32) == points(batch_size="auto") == []
    (point,) = points(batch_size=128)
    assert point.status == "warn"
    cure = point.cure.removeprefix("By the square root: dvc exp run ").split(" -S ")
    assert cure == ["-S train.batch_size=128", "train.lr=6.0e-04"]
    assert points(batch_size=128, lr=6.0e-04) == []
