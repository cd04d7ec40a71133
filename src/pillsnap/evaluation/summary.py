"""Training times, goals, and metrics.json: the headline metrics out of all that was measured."""

from pathlib import Path
from typing import Any

from pillsnap import files
from pillsnap.evaluation.sections import explained
from pillsnap.params import Params
from pillsnap.places import MODELS, Places

Json = dict[str, Any]

# All of metrics.json: `dvc metrics show` and `dvc exp show` make a column of each.
HEADLINES = {
    "classification": (
        "top1", "top5", "macro_f1", "ece", "pills",
        "single.top1", "single.pills", "combination.top1", "combination.pills",
    ),
    "detection": ("map50", "map50_95", "precision", "recall", "frames", "boxes", "test.map50"),
    "pipeline": (
        "pill_precision", "pill_recall", "pill_f1", "frame_exact",
        "ms_per_frame_p50", "ms_per_frame_p95", "frames",
        "single.pill_f1", "single.frame_exact", "single.frames",
        "combination.pill_f1", "combination.frame_exact", "combination.frames",
    ),
    "unknown": ("auroc", "fpr_at_95_recall", "threshold", "pills", "codes", "accepted"),
    "sets": ("coverage", "names_per_pill"),
    "training": (
        "detection_minutes", "classification_minutes", "total_minutes", "epochs", "resumed",
    ),
    "targets": tuple(
        f"{goal}.{key}"
        for goal in ("classification_top1", "detection_map50", "training_minutes")
        for key in ("goal", "value", "met")
    ),
}  # fmt: skip


def metrics(measured: Json) -> Json:
    """metrics.json: the headlines, null where there is no value."""
    tree: Json = {}
    for section, names in HEADLINES.items():
        for name in names:
            *parents, last = f"{section}.{name}".split(".")
            source, node = measured, tree
            for parent in parents:
                source, node = source.get(parent, {}), node.setdefault(parent, {})
            node[last] = source.get(last)
    return tree


def training(places: Places) -> Json:
    """Minutes and epochs of both trainings, by the summaries they left."""
    paths = {name: places.artifacts_dir / "live" / name / "summary.json" for name in MODELS}
    found = {name: _summary(path) for name, path in paths.items()}
    epochs = [summary["epochs"] for summary in found.values() if summary]
    whole = all(found.values())
    values = {
        **{f"{name}_minutes": summary.get("minutes") for name, summary in found.items()},
        "total_minutes": sum(one["minutes"] for one in found.values()) if whole else None,
        "epochs": max(epochs, default=None),
        "resumed": sum(one["resumed"] for one in found.values()) if whole else None,
    }
    return explained(values, "the training left no live/<training>/summary.json")


def targets(params: Params, measured: Json) -> Json:
    """Each goal with its value, its interval and whether it is met (None without a value)."""
    goals = params.targets
    values = {
        "classification_top1": (goals.classification_top1, "classification", "top1"),
        "detection_map50": (goals.detection_map50, "detection", "map50"),
        "training_minutes": (goals.training_minutes, "training", "total_minutes"),
    }
    return {
        name: _target(goal, measured[section], key) for name, (goal, section, key) in values.items()
    }


def _target(goal: float, section: Json, key: str) -> Json:
    value = section[key]
    enough = value is not None and (value <= goal if key.endswith("minutes") else value >= goal)
    met = None if value is None else enough
    return {"goal": goal, "value": value, "met": met, "ci": section.get("ci", {}).get(key)}


def _summary(path: Path) -> Json:
    stage = f"train_{path.parent.name}"
    return files.read_json(path, f"Train again: dvc repro -f {stage}") if path.is_file() else {}
