"""The files of the evaluate stage: metrics, plots, montages, tables, report, model card."""

import time
from pathlib import Path

import pandas as pd
from PIL import Image

from pillsnap import files
from pillsnap.dataset import manifest
from pillsnap.dataset.crops import CropStore
from pillsnap.dataset.frames import FrameStore
from pillsnap.evaluation import (
    breakdown,
    cards,
    matching,
    metrics,
    montage,
    report,
    sections,
    tables,
)
from pillsnap.evaluation.answers import Answers
from pillsnap.files import Json
from pillsnap.params import Params, at
from pillsnap.places import MODELS, Places
from pillsnap.recognition import scores
from pillsnap.recognition.calibration import Calibration
from pillsnap.stage.run import git_revision

GOALS = {  # of params.yaml's `targets`: section and metric
    "classification_top1": ("classification", "top1"),
    "detection_map50": ("detection", "map50"),
    "training_minutes": ("training", "total_minutes"),
}
# All of metrics.json: `dvc metrics show` and `dvc exp show` make a column of each.
HEADLINES = {
    "classification": "top1 top5 macro_f1 ece pills single.top1 single.pills "
    "combination.top1 combination.pills",
    "detection": "map50 map50_95 precision recall frames boxes test.map50",
    "pipeline": "pill_precision pill_recall pill_f1 frame_exact ms_per_frame_p50 ms_per_frame_p95 "
    "frames single.pill_f1 single.frame_exact single.frames "
    "combination.pill_f1 combination.frame_exact combination.frames",
    "unknown": "auroc fpr_at_95_recall threshold pills codes accepted",
    "sets": "coverage names_per_pill",
    "training": "detection_minutes classification_minutes total_minutes epochs resumed",
    "targets": " ".join(f"{goal}.{key}" for goal in GOALS for key in ("goal", "value", "met")),
}
# DVC 3.67 cannot draw an empty list: a plot without rows gets one that draws nothing.
NOTHING: dict[str, Json] = {
    "pr_curve": {"recall": None, "precision": None},
    "reliability": {"confidence": None, "accuracy": None, "pills": 0},
    "coverage": {"coverage": None, "accuracy": None},
    "worst_classes": {"class": "none", "f1": None, "top1": None, "pills": 0},
    "confusions": {"pair": "none", "count": 0},
}
CURVE_IOU = 0.5  # of the precision-recall curve
REPORT_QUALITY = 85  # JPEG quality of the montages in the report: a tenth of the PNGs


def write(
    params: Params,
    places: Places,
    answered: Answers,
    fitted: Calibration,
    classes: pd.DataFrame,
    measured: Json,
) -> None:
    """All files of the stage but the calibration, which was written when it was fitted."""
    out = places.artifacts_dir
    files.write_json(out / "metrics.json", headlines(measured))
    files.write_json(out / "evaluation.json", measured)
    curves = plots(answered, fitted, classes, params.evaluate.worst_classes)
    for name, rows in curves.items():
        files.write_json(out / "figures" / f"{name}.json", rows or [NOTHING[name]])
    known = answered.val.known()
    by_class = breakdown.per_class(known.truth, known.logits.argmax(axis=1), classes)
    tables.write_csv(out / "per_class.csv", by_class)
    _pills(out, answered, fitted, classes)
    tables.write_csv(out / "results_detection.csv", tables.by_epoch(places.epochs))
    sheets = montages(places, answered, fitted, classes)
    for name, sheet in sheets.items():
        path = out / "figures" / f"{name}.png"
        files.write_bytes(path, montage.encoded(sheet, "PNG", optimize=True))
    jpeg = {"quality": REPORT_QUALITY, "subsampling": 0}
    pictures = {name: montage.encoded(sheet, "JPEG", **jpeg) for name, sheet in sheets.items()}
    page = report.render(measured, curves, by_class, pictures, params.scale)
    files.write_text(out / "report.html", page)
    files.write_text(places.model_card, report.model_card(measured, classes, params.scale))


def plots(
    answered: Answers, fitted: Calibration, classes: pd.DataFrame, rows: int
) -> dict[str, list[Json]]:
    """Name of each plot's file and its rows."""
    known = answered.val.known()
    truth, predicted = known.truth, known.logits.argmax(axis=1)
    confidence = scores.confidences(known.logits, fitted.temperature)
    score = fitted.refusal_score(known)
    pairs = breakdown.confusions(truth, predicted, confidence).head(rows)
    names = (classes["mapping_code"] + " " + classes["drug_name"]).tolist()
    frames = answered.val_frames
    boxes = (frames.found.score, frames.matched(CURVE_IOU), len(frames.labelled.frame))
    return {
        "pr_curve": metrics.precision_recall(*boxes),
        "reliability": metrics.reliability(confidence, predicted == truth),
        "coverage": metrics.coverage(score, predicted == truth),
        "worst_classes": breakdown.worst(breakdown.per_class(truth, predicted, classes), rows),
        "confusions": [
            {"pair": f"{names[true]} → {names[other]}", "count": count}
            for true, other, count, _ in pairs.itertuples(index=False)
        ],
    }


def montages(
    places: Places, answered: Answers, fitted: Calibration, classes: pd.DataFrame
) -> dict[str, Image.Image]:
    """Name of each montage and its picture."""
    stores = {split: CropStore(places.crops(split)) for split in ("val", "test")}
    frames, store = answered.val_frames, FrameStore(places.frames("val"))
    chosen = montage.choose(frames)
    pictures = [montage.framed(store.decode(i), frames.frames[i], classes) for i in chosen]
    confusions = cards.confusions(answered.val, fitted, classes, stores["val"])
    unknown = cards.unknown(answered, fitted, classes, stores)
    return {
        "detections": montage.frame_montage(pictures),
        "confusions": cards.sheet(confusions, "val: no known pill was misclassified"),
        "unknown": cards.sheet(unknown, "test holds no unknown pill"),
    }


def headlines(measured: Json) -> Json:
    """metrics.json: the headlines, null where there is no value."""
    tree: Json = {}
    for section, names in HEADLINES.items():
        for name in names.split():
            *parents, last = f"{section}.{name}".split(".")
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[last] = at(measured, f"{section}.{name}")
    return tree


def report_of(path: Path, stage: str) -> Json:
    """A JSON report of another stage; empty where there is none."""
    cure = f"Write it again: dvc repro -f -s {stage}"
    return files.read_json(path, cure) if path.is_file() else {}


def training(places: Places) -> Json:
    """Minutes and epochs of both trainings, by the summaries they left."""
    live = places.artifacts_dir / "live"
    found = {name: report_of(live / name / "summary.json", f"train_{name}") for name in MODELS}
    epochs = [summary["epochs"] for summary in found.values() if summary]
    whole = all(found.values())
    values = {
        **{f"{name}_minutes": summary.get("minutes") for name, summary in found.items()},
        "total_minutes": sum(one["minutes"] for one in found.values()) if whole else None,
        "epochs": max(epochs, default=None),
        "resumed": sum(one["resumed"] for one in found.values()) if whole else None,
    }
    return sections.explained(values, "the training left no live/<training>/summary.json")


def targets(params: Params, measured: Json) -> Json:
    """Each goal with its value, its interval and whether it is met (None without a value)."""
    return {
        goal: _target(getattr(params.targets, goal), measured[section], metric)
        for goal, (section, metric) in GOALS.items()
    }


def provenance(places: Places, sampling: Json, hashes: dict[str, str], device: str) -> Json:
    """What was measured, and by what."""
    return {
        "class_table_hash": manifest.class_table_hash(places.classes),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "seed": sampling.get("seed"),
        "data_fingerprint": sampling.get("fingerprint"),
        "git_revision": git_revision(),
        **{f"{name}_sha256": digest for name, digest in hashes.items()},
        "map": matching.evaluator(),
        "device": device,
    }


def _pills(out: Path, answered: Answers, fitted: Calibration, classes: pd.DataFrame) -> None:
    """A row per pill of the crops and of the frames, and the detector's boxes."""
    crops = {"val": answered.val, "test": answered.test}
    rows = [tables.crops(split, part, fitted, classes) for split, part in crops.items()]
    tables.write_parquet(out / "predictions.parquet", rows)
    frames = {"val": answered.val_frames, "test": answered.test_frames}
    rows = [tables.pills(split, part, classes) for split, part in frames.items()]
    tables.write_parquet(out / "pipeline.parquet", rows)
    truth, found = tables.coco_files(answered.val_frames)
    files.write_json(out / "coco" / "ground_truth.json", truth)
    files.write_json(out / "coco" / "detections.json", found)


def _target(goal: float, section: Json, key: str) -> Json:
    value = section[key]
    met = None
    if value is not None:
        met = value <= goal if key.endswith("minutes") else value >= goal
    return {"goal": goal, "value": value, "met": met, "ci": at(section, f"ci.{key}")}
