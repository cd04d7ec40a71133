"""What stage 4 takes, judged by a made run: every time from what was measured, or null."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from make.import_graph import ROOT
from make.made_answers import crop_answers, fitted, muddled
from pillsnap import files
from pillsnap.operation import check_machine, readiness
from pillsnap.operation.point import duration
from pillsnap.params import load
from pillsnap.places import Places
from pillsnap.recognition import calibration
from pillsnap.training import checkpoints

OF_FILES = {"train/images/single": 900_000, "train/labels/combination": 40_000}
ON_DISK = {"codes_with_single_photos_in_train": 4023, "files": OF_FILES}
COMBINATIONS = 500_000 * 0.05 / check_machine.PILLS_PER_COMBINATION  # frames of stage 4
SINGLES = 500_000 * 0.95


def progress(run, time_s, step):
    event = {"time": time_s, "stage": "validate", "kind": "progress", "run": run, "step": step}
    return json.dumps(event, separators=(",", ":")) + "\n"


@pytest.fixture
def params(tmp_path, monkeypatch):
    """A whole run of stage 1 in the current folder."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(text.replace("scale: demo", "scale: stage1", 1), "utf-8")
    monkeypatch.chdir(tmp_path)
    made = load()
    places = Places.of(made)
    files.write_json(places.artifacts_dir / "metrics.json", {"targets": {"top1": {"met": True}}})
    files.write_json(places.sampling, {"on_disk": ON_DISK})
    for name in ("detection", "classification"):
        summary = {"minutes": 2.0, "epochs": 3}
        files.write_json(places.artifacts_dir / "live" / name / "summary.json", summary)
        checkpoints.publish(places.checkpoint(name), {"weight": torch.ones(2)}, {"kind": name})
    sha256 = files.sha256_of(places.checkpoint("classification"))
    fit = replace(fitted(crop_answers(muddled, True, 1)), classification_sha256=sha256)
    calibration.save(places.calibration, fit)
    runs = progress("a", 10.0, 0) + progress("a", 20.0, 400) + progress("b", 30.0, 400)
    (places.artifacts_dir / "live" / "events.jsonl").write_text(runs, encoding="utf-8")
    return made


def points(params, current=True):
    return {one.name: one for one in readiness.points(params, current)}


def test_a_whole_run_at_these_sizes_leaves_nothing_null(params):
    found = points(params)
    assert [name for name, one in found.items() if "null" in one.value] == []
    assert [found[name].status for name in ("goals", "checkpoints", "data")] == ["pass"] * 3
    goals = points(params, current=False)["goals"]  # measured on other checkpoints
    assert (goals.status, "nothing measured" in goals.value) == ("fail", True)


def test_a_missed_goal_another_classifier_and_a_damaged_checkpoint_are_named(params):
    places = Places.of(params)
    files.write_json(places.artifacts_dir / "metrics.json", {"targets": {"x": {"met": None}}})
    weights = {"weight": torch.zeros(2)}
    checkpoints.publish(places.checkpoint("classification"), weights, {"kind": "x"})
    found = points(params)
    assert (found["goals"].status, found["goals"].value) == ("fail", "0 of 1 met: x")
    assert "another classifier" in found["checkpoints"].value
    path = places.checkpoint("detection")
    path.write_bytes(path.read_bytes()[:-40])
    found = points(params)["checkpoints"]
    assert (found.status, "stage1_detection_best.pt" in found.value) == ("fail", True)


@pytest.mark.parametrize(
    ("key", "count"),
    [("codes_with_single_photos_in_train", 4022), ("train/images/single", 474_999),
     ("train/labels/combination", 24_999)],
)  # fmt: skip
def test_data_one_short_of_stage4_is_too_little(params, key, count):
    on_disk = ON_DISK | {key: count, "files": OF_FILES | {key: count}}
    files.write_json(Places.of(params).sampling, {"on_disk": on_disk})
    found = points(params)["data"]
    assert (found.status, f"{count:,} of {count + 1:,}" in found.value) == ("fail", True)


@pytest.mark.parametrize(
    ("name", "count", "per_s"),
    [
        ("validate", SINGLES + COMBINATIONS + 10_000, 400 / 10),  # of the newest run that read
        ("train classification", 500_000 * (1 - 0.18525) * 18, 5000 * (1 - 0.18525) * 3 / 120),
        ("train detection", (COMBINATIONS * (1 - 0.18525) + 10_000) * 18, None),
    ],
)
def test_times_are_pictures_over_the_measured_rate(params, name, count, per_s):
    per_s = per_s or check_machine.training_frames(params) * 3 / 120
    value = points(params)[name].value
    assert value.startswith(f"{duration(count / per_s / 60)}: {count:,.0f} ")
    assert f"at {per_s:,.1f} a second" in value


def test_other_sizes_than_stage4s_or_no_run_are_null_with_a_reason(params):
    scales = {**params.scales, "stage1": params.at_scale.model_copy(update={"crop_px": 128})}
    other = points(params.model_copy(update={"scales": scales}))
    assert "null: crop_px differ" in other["train classification"].value
    shutil.rmtree("artifacts")
    found = points(params)
    assert [found[name].status for name in ("goals", "checkpoints")] == ["fail", "fail"]
    measured = ("data", "validate", "train detection", "train classification")
    assert ["null" in found[name].value for name in measured] == [True] * 4
