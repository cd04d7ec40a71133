import re

import pytest
import timm
from PIL import Image

from make import evaluated_project
from make.import_graph import ROOT
from pillsnap import files
from pillsnap.errors import DataError
from pillsnap.evaluation import evaluate, outputs
from pillsnap.params import load
from pillsnap.places import MODELS, Places
from pillsnap.recognition import calibration
from pillsnap.stage.log import RunLog
from pillsnap.training import checkpoints

TIMED = ("metrics.json", "evaluation.json", "report.html", "events.jsonl")


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evaluated_project.lay(tmp_path)
    places = Places.of(load())
    summary = {"minutes": 1.5, "epochs": 3, "resumed": 1, "device": "CPU"}
    files.write_json(places.artifacts_dir / "live/detection/summary.json", summary)
    return places


def run(places):
    return evaluate.evaluate(load(), RunLog("evaluate", places.artifacts_dir / "live", "ERROR"))


def test_the_stage_writes_all_its_files_the_same_twice_but_for_times(project, monkeypatch):
    loaded, load_published = [], checkpoints.load_published
    monkeypatch.setattr(
        checkpoints, "load_published", lambda path: loaded.append(path) or load_published(path)
    )
    out, contents = project.artifacts_dir, []
    for _ in range(2):
        ended = run(project)
        written = sorted(path for path in out.rglob("*") if path.is_file())
        contents.append({path: path.read_bytes() for path in written if path.name not in TIMED})
    assert contents[0] == contents[1]
    assert sorted(loaded) == sorted(2 * [project.checkpoint(name) for name in MODELS])
    assert {path.name for path in written} >= {
        "metrics.json", "evaluation.json", "predictions.parquet", "pipeline.parquet",
        "per_class.csv", "report.html", "demo_recogniser.json", "demo_model_card.md",
        "ground_truth.json", "detections.json", "pr_curve.json", "reliability.json",
        "coverage.json", "worst_classes.json", "confusions.json", "confusions.png",
        "detections.png", "unknown.png", "results_detection.csv",
    }  # fmt: skip
    Image.open(out / "figures" / "confusions.png").verify()
    metrics, measured = (files.read_json(out / name, "") for name in TIMED[:2])
    assert ended["classification.top1"] == metrics["classification"]["top1"]
    calibration.load(project.calibration, files.sha256_of(project.checkpoint("classification")))
    assert set(measured) == {
        "classification", "detection", "pipeline", "unknown", "operating_points", "sets", "by",
        "new_conditions", "split", "speed", "training", "models", "provenance", "targets",
    }  # fmt: skip
    model = timm.create_model("test_resnet", pretrained=False, num_classes=4)
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert measured["models"]["classification"]["parameters"] == counted


def test_every_key_of_the_json_files_is_explained(tmp_path_factory):
    out = evaluated_project.made(tmp_path_factory.getbasetemp()).artifacts_dir
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"`\.?([a-z0-9_]+)`", text))
    written = (out / "evaluation.json").read_text()
    named = {key for key in re.findall(r'"([^"]+)":', written) if not key.endswith("_reason")}
    assert named - set(outputs.GOALS) - explained == set()


def test_val_without_a_known_pill_is_refused(project):
    project.crops("val").write_bytes(project.crops("test").read_bytes())
    with pytest.raises(DataError, match="nothing to calibrate on"):
        run(project)
