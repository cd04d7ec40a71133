"""The whole stage on a handful of drawn photos with models that learnt nothing."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from make.drawn_models import classes
from make.evaluated_project import write_checkpoints, write_split
from make.import_graph import ROOT
from pillsnap.dataset import manifest
from pillsnap.errors import CheckpointError
from pillsnap.evaluation import evaluate
from pillsnap.params import Params, load
from pillsnap.places import Places
from pillsnap.recognition import calibration
from pillsnap.stage.log import RunLog
from pillsnap.training import checkpoints


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Params, Places, RunLog]:
    params = load()
    small = params.evaluate.model_copy(update={"device": "cpu", "bootstrap_rounds": 20})
    monkeypatch.chdir(tmp_path)
    params = params.model_copy(update={"evaluate": small})
    places = Places.of(params)
    manifest.write_classes(places.classes, classes())
    for split in manifest.SPLITS:
        write_split(places, split)
    write_checkpoints(places)
    live = places.artifacts_dir / "live"
    (live / "detection").mkdir(parents=True)
    summary = {"minutes": 1.5, "epochs": 3, "resumed": 1, "device": "CPU"}
    (live / "detection" / "summary.json").write_text(json.dumps(summary))
    return params, places, RunLog("evaluate", live, "ERROR")


def test_the_stage_leaves_all_its_files(run) -> None:
    params, places, log = run
    figures = evaluate.evaluate(params, log)
    measured = json.loads((places.artifacts_dir / "metrics.json").read_text())
    assert figures["classification.top1"] == measured["classification"]["top1"]
    assert set(measured) >= {
        "classification", "detection", "pipeline", "unknown", "training", "targets",
    }  # fmt: skip
    left = {path.name for path in places.artifacts_dir.rglob("*") if path.is_file()}
    assert left >= {
        "predictions.parquet", "pipeline.parquet", "per_class.csv", "report.html",
        "demo_recogniser.json", "demo_model_card.md", "ground_truth.json", "detections.json",
        "pr_curve.json", "reliability.json", "coverage.json", "worst_classes.json",
        "confusions.json", "confusions.png", "detections.png", "unknown.png",
        "results_detection.csv", "results_classification.csv",
    }  # fmt: skip
    assert cv2.imread(str(places.artifacts_dir / "figures" / "confusions.png")) is not None


def test_every_key_of_metrics_json_is_explained(run) -> None:
    params, places, log = run
    evaluate.evaluate(params, log)
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"`\.?([a-z0-9_]+)`", text)) | {"ci"}
    measured = json.loads((places.artifacts_dir / "metrics.json").read_text())
    goals = {f"{goal}" for goal in measured["targets"]}
    named = {key for key in keys_of(measured) if not key.endswith("_reason")}
    assert named - goals - explained == set()


def keys_of(tree) -> set[str]:
    """Every key of a JSON tree, at any depth."""
    if isinstance(tree, list):
        return set().union(*map(keys_of, tree))
    if not isinstance(tree, dict):
        return set()
    return set(tree) | set().union(*map(keys_of, tree.values()))


def test_all_but_the_times_is_the_same_twice(run) -> None:
    params, places, log = run
    timed = {"metrics.json", "report.html", "events.jsonl"}
    contents = []
    for _ in range(2):
        evaluate.evaluate(params, log)
        files = sorted(path for path in places.artifacts_dir.rglob("*") if path.is_file())
        contents.append({path: path.read_bytes() for path in files if path.name not in timed})
    assert contents[0] == contents[1]


def test_a_missing_training_record_is_none_with_a_reason(run) -> None:
    params, places, log = run
    evaluate.evaluate(params, log)
    training = json.loads((places.artifacts_dir / "metrics.json").read_text())["training"]
    assert training["detection_minutes"] == 1.5
    assert training["classification_minutes"] is None
    assert "summary.json" in training["total_minutes_reason"]


def test_the_table_of_crops_gives_top1_again(run) -> None:
    params, places, log = run
    top1 = evaluate.evaluate(params, log)["classification.top1"]
    table = pq.read_table(places.artifacts_dir / "predictions.parquet").to_pandas()
    val = table[(table["split"] == "val") & table["known"]]
    right = [
        codes[0] == code for codes, code in zip(val["codes"], val["mapping_code"], strict=True)
    ]
    assert np.mean(right) == pytest.approx(top1, abs=1e-9)


def test_the_calibration_belongs_to_the_classifier_beside_it(run) -> None:
    params, places, log = run
    evaluate.evaluate(params, log)
    weights, config = checkpoints.load_published(places.checkpoint("classification"))
    checkpoints.publish(places.checkpoint("classification"), weights, {**config, "epoch": 2})
    sha256 = evaluate.files.sha256_of(places.checkpoint("classification"))
    with pytest.raises(CheckpointError, match="another classifier"):
        calibration.load(places.calibration, sha256)
