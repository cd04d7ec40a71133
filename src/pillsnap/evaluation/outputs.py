"""The files of the evaluate stage: metrics, plots, montages, tables, report, model card."""

import io
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from pillsnap import files
from pillsnap.dataset import manifest
from pillsnap.evaluation import (
    breakdown,
    coco,
    metrics,
    model_card,
    montage,
    report,
    sections,
    summary,
    tables,
)
from pillsnap.evaluation.answers import Answers
from pillsnap.params import Params
from pillsnap.places import Places
from pillsnap.recognition import scores
from pillsnap.recognition.calibration import Calibration

Json = dict[str, Any]

MONTAGES = ("detections", "confusions", "unknown")
# DVC 3.67 cannot draw an empty list: a plot without rows gets one that draws nothing.
NOTHING: dict[str, Json] = {
    "pr_curve": {"recall": None, "precision": None},
    "reliability": {"confidence": None, "accuracy": None, "pills": 0},
    "coverage": {"coverage": None, "accuracy": None},
    "worst_classes": {"class": "none", "f1": None, "top1": None, "pills": 0},
    "confusions": {"pair": "none", "count": 0},
}
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
    out, options = places.artifacts_dir, params.evaluate
    files.write_json(out / "metrics.json", summary.metrics(measured))
    files.write_json(out / "evaluation.json", measured)
    curves = plots(answered, fitted, classes, options.worst_classes)
    for name, rows in curves.items():
        files.write_json(out / "figures" / f"{name}.json", rows or [NOTHING[name]])
    known = answered.val.known()
    by_class = breakdown.per_class(known.truth, known.logits.argmax(axis=1), classes)
    tables.write_csv(out / "per_class.csv", by_class)
    _pills(out, answered, fitted, classes, options.match_iou)
    _results(out, places, measured)
    montage.draw(out / "figures", answered, fitted, classes, places, options)
    pictures = {name: _jpeg(out / "figures" / f"{name}.png") for name in MONTAGES}
    page = report.render(measured, curves, by_class, pictures, params.scale)
    files.write_text(out / "report.html", page)
    files.write_text(places.model_card, model_card.render(measured, classes, params.scale))


def plots(
    answered: Answers, fitted: Calibration, classes: pd.DataFrame, rows: int
) -> dict[str, list[Json]]:
    """Name of each plot's file and its rows."""
    known = answered.val.known()
    truth, predicted = known.truth, known.logits.argmax(axis=1)
    confidence = scores.confidences(known.logits, fitted.temperature)
    score = fitted.refusal_score(known.outputs)
    pairs = breakdown.confusions(truth, predicted, confidence)[:rows]
    return {
        "pr_curve": sections.pr_curve(answered.val_frames),
        "reliability": metrics.reliability(confidence, predicted == truth),
        "coverage": metrics.coverage(score, predicted == truth),
        "worst_classes": breakdown.worst(breakdown.per_class(truth, predicted, classes), rows),
        "confusions": breakdown.confusion_rows(pairs, classes),
    }


def provenance(places: Places, sampling: Json, hashes: dict[str, str], device: str) -> Json:
    """What was measured, and by what."""
    return {
        "class_table_hash": manifest.class_table_hash(places.classes),
        "data_fingerprint": sampling.get("fingerprint"),
        "git_revision": _git_revision(),
        **{f"{name}_sha256": digest for name, digest in hashes.items()},
        "map": coco.evaluator(),
        "device": device,
    }


def _pills(
    out: Path, answered: Answers, fitted: Calibration, classes: pd.DataFrame, match_iou: float
) -> None:
    """A row per pill of the crops and of the frames, and the detector's boxes."""
    crops = {"val": answered.val, "test": answered.test}
    rows = [tables.crops(split, part, fitted, classes) for split, part in crops.items()]
    tables.write_parquet(out / "predictions.parquet", rows)
    frames = {"val": answered.val_frames, "test": answered.test_frames}
    rows = [tables.pills(split, part, match_iou, classes) for split, part in frames.items()]
    tables.write_parquet(out / "pipeline.parquet", rows)
    truth, found = tables.coco_files(answered.val_frames)
    files.write_json(out / "coco" / "ground_truth.json", truth)
    files.write_json(out / "coco" / "detections.json", found)


def _results(out: Path, places: Places, measured: Json) -> None:
    """A row per model or epoch, as timm and Ultralytics have them."""
    row = tables.timm_row(measured["classification"], measured["models"]["classification"])
    tables.write_csv(out / "results_classification.csv", [row])
    tables.write_csv(out / "results_detection.csv", tables.by_epoch(places.epochs))


def _git_revision() -> str | None:
    """The commit of the work tree, or None outside a repository."""
    command = ["git", "rev-parse", "--verify", "--quiet", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _jpeg(png: Path) -> bytes:
    buffer = io.BytesIO()
    Image.open(png).convert("RGB").save(buffer, "JPEG", quality=REPORT_QUALITY, subsampling=0)
    return buffer.getvalue()
