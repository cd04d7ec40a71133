import subprocess

import orjson
import pandas as pd
import pytest

from make import made_answers as fake
from pillsnap import files
from pillsnap.errors import DataError
from pillsnap.evaluation import evaluate, outputs
from pillsnap.params import load
from pillsnap.places import Places
from pillsnap.stage.run import git_revision

PARAMS = load().model_copy(update={"evaluate": fake.OPTIONS})
CONTRACT = {
    "classification": "top1 top5 macro_f1 ece pills single.top1 single.pills combination.top1 "
    "combination.pills",
    "detection": "map50 map50_95 precision recall frames boxes test.map50",
    "pipeline": "pill_precision pill_recall pill_f1 frame_exact ms_per_frame_p50 ms_per_frame_p95 "
    "frames single.pill_f1 single.frame_exact single.frames combination.pill_f1 "
    "combination.frame_exact combination.frames",
    "unknown": "auroc fpr_at_95_recall threshold pills codes accepted",
    "sets": "coverage names_per_pill",
    "training": "detection_minutes classification_minutes total_minutes epochs resumed",
    "targets.classification_top1": "goal value met",
    "targets.detection_map50": "goal value met",
    "targets.training_minutes": "goal value met",
}


def measured(model, minutes: float | None = None) -> dict:
    answered = fake.answers(model, fake.frames())
    tree = evaluate.measure(PARAMS, answered, fake.fitted(answered.val), fake.class_table(), ())
    tree["training"] = {"total_minutes": minutes}
    return {**tree, "targets": outputs.targets(PARAMS, tree)}


def test_metrics_json_has_the_contracted_keys_and_no_other():
    tree = measured(fake.muddled)
    found = outputs.headlines(tree)
    wanted = [f"{section}.{key}" for section, keys in CONTRACT.items() for key in keys.split()]
    assert sorted(pd.json_normalize(found)) == sorted(wanted)
    assert len(wanted) <= 55
    assert found["classification"]["single"].items() <= tree["classification"]["single"].items()
    assert found["detection"]["test"]["map50"] == tree["detection"]["test"]["map50"] > 0
    assert found["sets"]["coverage"] == tree["sets"]["coverage"] > 0.9
    assert b"reason" not in orjson.dumps(found)


def test_a_goal_is_met_missed_or_without_a_value():
    tree = measured(fake.oracle)
    found = tree["targets"]
    assert found["classification_top1"]["met"] is True
    assert found["classification_top1"]["ci"].high == 1.0
    assert found["training_minutes"] == {
        "goal": PARAMS.targets.training_minutes, "value": None, "met": None, "ci": None,
    }  # fmt: skip
    tree["classification"]["top1"], tree["training"]["total_minutes"] = 0.5, 1.0
    found = outputs.targets(PARAMS, tree)
    assert found["classification_top1"]["met"] is False
    assert found["training_minutes"]["met"] is True


def test_a_missing_record_or_revision_is_null_a_damaged_record_refused(tmp_path, monkeypatch):
    places, path = Places(tmp_path, tmp_path, "demo"), tmp_path / "live/detection/summary.json"
    files.write_json(path, {"minutes": 1.5, "epochs": 3, "resumed": 1})
    found = outputs.training(places)
    assert (found["detection_minutes"], found["epochs"]) == (1.5, 3)
    assert found["classification_minutes"] is found["total_minutes"] is None
    assert "summary.json" in found["total_minutes_reason"]
    path.write_text("{")
    with pytest.raises(DataError, match="is not JSON") as refusal:
        outputs.training(places)
    assert refusal.value.cure == "Write it again: dvc repro -f -s train_detection"


@pytest.mark.parametrize("model", [fake.oracle, fake.guesser, fake.parrot, fake.muddled])
@pytest.mark.parametrize("found", [True, False])
def test_everything_is_measured_and_every_null_has_a_reason(model, found):
    answered = fake.answers(model, fake.frames(found=found))
    made = fake.fitted(answered.val)
    measured = evaluate.measure(PARAMS, answered, made, fake.class_table(), ())
    for section in ("classification", "detection", "pipeline", "unknown"):
        tree = orjson.loads(orjson.dumps(measured[section]))  # NaN becomes null here
        empty = {key for key, value in tree.items() if value is None}
        assert empty == {key.removesuffix("_reason") for key in tree if key.endswith("_reason")}
    plots = outputs.plots(answered, made, fake.class_table(), 5)
    assert b"null" not in orjson.dumps(plots)
    for name, rows in plots.items():  # the row for nothing has the same columns
        assert not rows or rows[0].keys() == outputs.NOTHING[name].keys()
    assert len(plots["worst_classes"]) == (0 if model is fake.oracle else 5)
    assert len(plots["pr_curve"]) == 101


def test_a_repository_without_commits_has_no_revision(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert git_revision() is None
    subprocess.run(["git", "init", "-q"], check=True)
    assert git_revision() is None
