"""What stage 4 takes, judged by a made run: every estimate from what was measured, or null."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from make.import_graph import ROOT
from make.made_answers import crop_answers, fitted, muddled
from pillsnap import files
from pillsnap.operation import readiness
from pillsnap.operation.point import Point
from pillsnap.params import Params, load
from pillsnap.places import Places
from pillsnap.recognition import calibration
from pillsnap.training import checkpoints

SPLIT = {
    "known_pills": 4000,
    "pills_by": {"image_type": {"single": 3800, "combination": 200}},
    "frames_by_image_type": {"single": 3800, "combination": 50},
}
SAMPLING = {
    "counts": {"train": SPLIT, "val": SPLIT},
    "on_disk": {
        "codes_with_single_photos_in_train": 4023,
        "files": {"train/images/single": 900_000, "train/labels/combination": 40_000},
    },
}
STAGE4_COMBINATION_FRAMES = 500_000 * 0.05 / 4


def write_json(path: Path, tree: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree), encoding="utf-8")


def write_bytes(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))


def progress(run: str, time_s: float, step: int) -> str:
    event = {"time": time_s, "stage": "validate", "kind": "progress", "run": run, "step": step}
    return json.dumps(event, separators=(",", ":")) + "\n"


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A whole run of stage 1 in the current folder."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(text.replace("scale: demo", "scale: stage1", 1), "utf-8")
    monkeypatch.chdir(tmp_path)
    made = load()
    places = Places.of(made)
    write_json(places.artifacts_dir / "metrics.json", {"targets": {"top1": {"met": True}}})
    write_json(places.sampling, SAMPLING)
    pictures = {"crops": 100, "evaluation_frames": 10, "detection_frames": 4}
    write_json(places.validation, {"pictures": pictures})
    write_bytes(places.data_dir / "crops" / "train.arrow", 2_000_000)
    write_bytes(places.data_dir / "frames" / "val.arrow", 3_000_000)
    for number in range(4):
        write_bytes(places.data_dir / "detection" / "images" / "train" / f"{number}.jpg", 50_000)
    for name in ("detection", "classification"):
        summary = {"minutes": 2.0, "epochs": 3}
        write_json(places.artifacts_dir / "live" / name / "summary.json", summary)
        checkpoints.publish(places.checkpoint(name), {"weight": torch.ones(2)}, {"kind": name})
    sha256 = files.sha256_of(places.checkpoint("classification"))
    fit = replace(fitted(crop_answers(muddled, True, 1)), classification_sha256=sha256)
    calibration.save(places.calibration, fit)
    runs = progress("a", 10.0, 0) + progress("a", 20.0, 400) + progress("b", 30.0, 400)
    (places.artifacts_dir / "live" / "events.jsonl").write_text(runs, encoding="utf-8")
    return made


def point(params: Params, name: str) -> Point:
    return next(one for one in readiness.points(params) if one.name == name)


def test_a_whole_run_at_these_sizes_leaves_nothing_null(params: Params) -> None:
    points = {one.name: one for one in readiness.points(params)}
    assert [name for name, one in points.items() if "null" in one.value] == []
    assert [points[name].status for name in ("goals", "checkpoints", "data")] == ["pass"] * 3


def test_a_missed_goal_is_named(params: Params) -> None:
    write_json(Places.of(params).artifacts_dir / "metrics.json", {"targets": {"x": {"met": None}}})
    found = point(params, "goals")
    assert (found.status, found.value) == ("fail", "0 of 1 met: x")


def test_a_damaged_checkpoint_is_named(params: Params) -> None:
    path = Places.of(params).checkpoint("detection")
    path.write_bytes(path.read_bytes()[:-40])
    found = point(params, "checkpoints")
    assert found.status == "fail"
    assert "stage1_detection_best.pt" in found.value


def test_a_calibration_of_another_classifier_is_found(params: Params) -> None:
    weights = {"weight": torch.zeros(2)}
    checkpoints.publish(Places.of(params).checkpoint("classification"), weights, {"kind": "x"})
    assert "another classifier" in point(params, "checkpoints").value


@pytest.mark.parametrize(
    ("path", "count"),
    [
        (("codes_with_single_photos_in_train",), 4022),
        (("files", "train/images/single"), 474_999),
        (("files", "train/labels/combination"), 24_999),
    ],
)
def test_data_one_short_of_stage4_is_too_little(params: Params, path: tuple, count: int) -> None:
    tree = json.loads(json.dumps(SAMPLING))
    node = tree["on_disk"]
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = count
    write_json(Places.of(params).sampling, tree)
    found = point(params, "data")
    assert found.status == "fail"
    assert f"{count:,} of {count + 1:,}" in found.value


def test_crops_are_estimated_by_their_measured_size(params: Params) -> None:
    found = evidence(params)
    assert readiness.crop_bytes(found) == (20_000 * (500_000 + 10_000), "")


def test_frames_are_estimated_by_their_measured_size(params: Params) -> None:
    detection = 50_000 * (STAGE4_COMBINATION_FRAMES + 10_000 / (1 - 0.18525))
    value, _ = readiness.frame_bytes(evidence(params))
    assert value == pytest.approx(detection + 300_000 * 4 * 4000, rel=1e-9)


def test_the_reading_rate_is_that_of_the_newest_run_that_read(params: Params) -> None:
    assert readiness.photos_per_s(Places.of(params)) == (40.0, "")


def test_validate_takes_photos_over_rate(params: Params) -> None:
    photos = 500_000 * 0.95 + STAGE4_COMBINATION_FRAMES + 10_000
    assert point(params, "validate").value.startswith(f"{photos / 40 / 60:,.0f} min: {photos:,.0f}")


def test_the_classifier_takes_pictures_over_its_measured_rate(params: Params) -> None:
    per_s = 4000 * 3 / 120
    hours = 500_000 * (1 - 0.18525) * 18 / per_s / 3600
    found = point(params, "train classification").value
    assert found.startswith(f"{hours:,.0f} h: ")
    assert "at 100.0 a second" in found


def test_the_detector_takes_pictures_over_its_measured_rate(params: Params) -> None:
    frames = (STAGE4_COMBINATION_FRAMES * (1 - 0.18525) + 10_000) * 18
    hours = frames / (4 * 3 / 120) / 3600
    assert point(params, "train detection").value.startswith(f"{hours:,.0f} h: {frames:,.0f} ")


def test_other_sizes_than_stage4s_are_null_with_a_reason(params: Params) -> None:
    scales = {**params.scales, "stage1": params.at_scale.model_copy(update={"crop_px": 128})}
    other = params.model_copy(update={"scales": scales})
    assert "null, crops: crops here have 128 px, there 384" in point(other, "disk").value
    assert "null: crop_px differ" in point(other, "train classification").value


def test_without_any_run_every_estimate_is_null(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    points = readiness.points(load())
    assert [one.status for one in points[:2]] == ["fail", "fail"]
    assert ["null" in one.value for one in points[2:]] == [True] * 5


def evidence(params: Params) -> readiness.Evidence:
    places = Places.of(params)
    validation = json.loads(places.validation.read_text(encoding="utf-8"))
    return readiness.Evidence(params, places, {}, SAMPLING, validation)
