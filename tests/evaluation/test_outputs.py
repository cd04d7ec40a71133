import subprocess
from pathlib import Path

import orjson
import pytest

from make.made_answers import (
    OPTIONS,
    answers,
    class_table,
    fitted,
    frames,
    guesser,
    muddled,
    oracle,
    parrot,
)  # fmt: skip
from pillsnap import files
from pillsnap.errors import DataError
from pillsnap.evaluation import evaluate, outputs
from pillsnap.params import load
from pillsnap.places import Places

PARAMS = load().model_copy(update={"evaluate": OPTIONS})
GOAL = {"goal": 0, "value": 0, "met": 0}
CONTRACT = {
    "classification": {
        "top1": 0, "top5": 0, "macro_f1": 0, "ece": 0, "pills": 0,
        "single": {"top1": 0, "pills": 0}, "combination": {"top1": 0, "pills": 0},
    },
    "detection": {
        "map50": 0, "map50_95": 0, "precision": 0, "recall": 0, "frames": 0, "boxes": 0,
        "test": {"map50": 0},
    },
    "pipeline": {
        "pill_precision": 0, "pill_recall": 0, "pill_f1": 0, "frame_exact": 0,
        "ms_per_frame_p50": 0, "ms_per_frame_p95": 0, "frames": 0,
        "single": {"pill_f1": 0, "frame_exact": 0, "frames": 0},
        "combination": {"pill_f1": 0, "frame_exact": 0, "frames": 0},
    },
    "unknown": {
        "auroc": 0, "fpr_at_95_recall": 0, "threshold": 0, "pills": 0, "codes": 0, "accepted": 0,
    },
    "sets": {"coverage": 0, "names_per_pill": 0},
    "training": {
        "detection_minutes": 0, "classification_minutes": 0, "total_minutes": 0, "epochs": 0,
        "resumed": 0,
    },
    "targets": {"classification_top1": GOAL, "detection_map50": GOAL, "training_minutes": GOAL},
}  # fmt: skip


def measured(model, minutes: float | None = None) -> dict:
    answered = answers(model, frames())
    tree = evaluate.measure(PARAMS, answered, fitted(answered.val), class_table(), ())
    tree["training"] = {"total_minutes": minutes}
    return {**tree, "targets": outputs.targets(PARAMS, tree)}


def shape(tree):
    return {name: shape(inner) for name, inner in tree.items()} if isinstance(tree, dict) else 0


def leaves(tree) -> int:
    return sum(leaves(inner) for inner in tree.values()) if isinstance(tree, dict) else 1


def test_metrics_json_has_the_contracted_keys_and_no_other() -> None:
    tree = measured(muddled)
    found = outputs.headlines(tree)
    assert shape(found) == CONTRACT
    assert leaves(found) <= 55
    assert found["classification"]["single"] == {
        key: tree["classification"]["single"][key] for key in ("top1", "pills")
    }
    assert found["detection"]["test"]["map50"] == tree["detection"]["test"]["map50"] > 0
    assert found["sets"] == {"coverage": None, "names_per_pill": None}
    assert b"reason" not in orjson.dumps(found)


def test_a_goal_is_met_missed_or_without_a_value() -> None:
    tree = measured(oracle)
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


def test_a_missing_training_record_is_null_with_a_reason_and_a_damaged_one_is_refused(
    tmp_path: Path,
) -> None:
    places, path = Places(tmp_path, tmp_path, "demo"), tmp_path / "live/detection/summary.json"
    files.write_json(path, {"minutes": 1.5, "epochs": 3, "resumed": 1})
    found = outputs.training(places)
    assert (found["detection_minutes"], found["epochs"]) == (1.5, 3)
    assert found["classification_minutes"] is found["total_minutes"] is None
    assert "summary.json" in found["total_minutes_reason"]
    path.write_text("{")
    with pytest.raises(DataError, match="is not JSON") as refusal:
        outputs.training(places)
    assert refusal.value.cure == "Train again: dvc repro -f train_detection"


@pytest.mark.parametrize("model", [oracle, guesser, parrot, muddled])
@pytest.mark.parametrize("found", [True, False])
def test_everything_is_measured_and_every_null_has_a_reason(model, found: bool) -> None:
    answered = answers(model, frames(found=found))
    made = fitted(answered.val)
    measured = evaluate.measure(PARAMS, answered, made, class_table(), ())
    for section in ("classification", "detection", "pipeline", "unknown"):
        tree = orjson.loads(orjson.dumps(measured[section]))  # NaN becomes null here
        empty = {key for key, value in tree.items() if value is None}
        assert empty == {key.removesuffix("_reason") for key in tree if key.endswith("_reason")}
    plots = outputs.plots(answered, made, class_table(), 5)
    assert b"null" not in orjson.dumps(plots)
    assert len(plots["worst_classes"]) == (0 if model is oracle else 5)
    assert len(plots["pr_curve"]) == 101


def test_every_plot_has_the_row_for_nothing_with_its_own_columns() -> None:
    answered = answers(muddled, frames())
    plots = outputs.plots(answered, fitted(answered.val), class_table(), 5)
    columns = {name: set(rows[0]) for name, rows in plots.items()}
    assert columns == {name: set(row) for name, row in outputs.NOTHING.items()}


def test_a_repository_without_commits_has_no_revision(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert outputs._git_revision() is None
    subprocess.run(["git", "init", "-q"], check=True)
    assert outputs._git_revision() is None
