"""The whole stage on a handful of drawn photos with untrained models."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import timm

from make.drawn_models import classes
from make.evaluated_project import write_checkpoints, write_split
from make.import_graph import ROOT
from pillsnap import files
from pillsnap.dataset import manifest
from pillsnap.errors import CheckpointError, DataError
from pillsnap.evaluation import evaluate
from pillsnap.params import Params, load
from pillsnap.places import MODELS, Places
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


def evaluation_of(places: Places) -> dict:
    return json.loads((places.artifacts_dir / "evaluation.json").read_text())


def test_the_stage_writes_all_its_files(run) -> None:
    params, places, log = run
    ended = evaluate.evaluate(params, log)
    measured = json.loads((places.artifacts_dir / "metrics.json").read_text())
    assert ended["classification.top1"] == measured["classification"]["top1"]
    assert set(evaluation_of(places)) == {
        "classification", "detection", "pipeline", "unknown", "by", "split", "speed", "training",
        "models", "provenance", "targets",
    }  # fmt: skip
    left = {path.name for path in places.artifacts_dir.rglob("*") if path.is_file()}
    assert left >= {
        "evaluation.json", "predictions.parquet", "pipeline.parquet", "per_class.csv",
        "report.html", "demo_recogniser.json", "demo_model_card.md", "ground_truth.json",
        "detections.json", "pr_curve.json", "reliability.json", "coverage.json",
        "worst_classes.json", "confusions.json", "confusions.png", "detections.png", "unknown.png",
        "results_detection.csv", "results_classification.csv",
    }  # fmt: skip
    assert cv2.imread(str(places.artifacts_dir / "figures" / "confusions.png")) is not None


def test_every_checkpoint_is_loaded_once(run, monkeypatch: pytest.MonkeyPatch) -> None:
    params, places, log = run
    loaded, load_published = [], checkpoints.load_published
    monkeypatch.setattr(
        checkpoints, "load_published", lambda path: loaded.append(path) or load_published(path)
    )
    evaluate.evaluate(params, log)
    assert sorted(loaded) == sorted(places.checkpoint(name) for name in MODELS)


def test_parameters_are_counted_as_timm_counts_them(run) -> None:
    params, places, log = run
    evaluate.evaluate(params, log)
    model = timm.create_model("test_resnet", pretrained=False, num_classes=4)
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert evaluation_of(places)["models"]["classification"]["parameters"] == counted


def test_every_key_of_the_json_files_is_explained(run) -> None:
    params, places, log = run
    evaluate.evaluate(params, log)
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"`\.?([a-z0-9_]+)`", text))
    measured = evaluation_of(places) | {"sets": {"coverage": 0, "names_per_pill": 0}}
    named = {key for key in keys_of(measured) if not key.endswith("_reason")}
    assert named - set(measured["targets"]) - explained == set()


def keys_of(tree) -> set[str]:
    """Every key of a JSON tree, at any depth."""
    if isinstance(tree, list):
        return set().union(*map(keys_of, tree))
    if not isinstance(tree, dict):
        return set()
    return set(tree) | set().union(*map(keys_of, tree.values()))


def test_all_but_the_times_is_the_same_twice(run) -> None:
    params, places, log = run
    timed = {"metrics.json", "evaluation.json", "report.html", "events.jsonl"}
    contents = []
    for _ in range(2):
        evaluate.evaluate(params, log)
        written = sorted(path for path in places.artifacts_dir.rglob("*") if path.is_file())
        contents.append({path: path.read_bytes() for path in written if path.name not in timed})
    assert contents[0] == contents[1]


def test_the_table_of_crops_gives_top1_again(run) -> None:
    params, places, log = run
    top1 = evaluate.evaluate(params, log)["classification.top1"]
    table = pq.read_table(places.artifacts_dir / "predictions.parquet").to_pandas()
    val = table[(table["split"] == "val") & table["known"]]
    right = [
        codes[0] == code for codes, code in zip(val["codes"], val["mapping_code"], strict=True)
    ]
    assert np.mean(right) == pytest.approx(top1, abs=1e-9)


def test_the_calibration_belongs_to_its_classifier_checkpoint(run) -> None:
    params, places, log = run
    evaluate.evaluate(params, log)
    weights, config = checkpoints.load_published(places.checkpoint("classification"))
    checkpoints.publish(places.checkpoint("classification"), weights, {**config, "epoch": 2})
    sha256 = files.sha256_of(places.checkpoint("classification"))
    with pytest.raises(CheckpointError, match="another classifier"):
        calibration.load(places.calibration, sha256)


def test_val_without_a_known_pill_is_refused(run) -> None:
    params, places, log = run
    places.crops("val").write_bytes(places.crops("test").read_bytes())
    with pytest.raises(DataError, match="nothing to calibrate on"):
        evaluate.evaluate(params, log)
