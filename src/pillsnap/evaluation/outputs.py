"""What the evaluate stage leaves: figures, plots, pictures, exports, report, model card."""

import io
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from pillsnap import files
from pillsnap.dataset import manifest
from pillsnap.evaluation import (
    breakdown,
    coco,
    exports,
    honesty,
    metrics,
    model_card,
    montage,
    report,
    sections,
    tables,
)
from pillsnap.evaluation.answers import Answers
from pillsnap.params import Params
from pillsnap.places import MODELS, Places
from pillsnap.recognition import scores
from pillsnap.recognition.calibration import Calibration
from pillsnap.training import checkpoints

Json = dict[str, Any]

PICTURES = ("detections", "confusions", "unknown")
# DVC 3.67 cannot draw an empty list: a plot without rows gets one that draws nothing.
NOTHING: dict[str, Json] = {
    "pr_curve": {"recall": None, "precision": None},
    "reliability": {"confidence": None, "accuracy": None, "pills": 0},
    "coverage": {"coverage": None, "accuracy": None},
    "worst_classes": {"class": "none", "f1": None, "top1": None, "pills": 0},
    "confusions": {"pair": "none", "count": 0},
}
REPORT_QUALITY = 85  # JPEG quality of the pictures in the report: a tenth of the PNGs


def write(
    params: Params,
    places: Places,
    answered: Answers,
    fitted: Calibration,
    classes: pd.DataFrame,
    measured: Json,
    models: Mapping[str, Json],
) -> None:
    """All files of the stage but the calibration, which stands already.

    `models` maps detection and classification to their checkpoints' configurations.
    """
    out, options = places.artifacts_dir, params.evaluate
    exports.write_json(out / "metrics.json", measured)
    curves = plots(answered, fitted, classes, options.worst_classes)
    for name, rows in curves.items():
        exports.write_json(out / "figures" / f"{name}.json", rows or [NOTHING[name]])
    known = answered.val.known()
    table = breakdown.per_class(known.truth, known.logits.argmax(axis=1), classes)
    files.write_text(out / "per_class.csv", table.to_csv(index=False, lineterminator="\n"))
    crops = [
        exports.named_crops("val", answered.val, fitted, classes),
        exports.named_crops("test", answered.test, fitted, classes),
    ]
    exports.write_parquet(out / "predictions.parquet", pd.concat(crops, ignore_index=True))
    frames = [
        exports.found_pills("val", answered.val_frames, options.match_iou, classes),
        exports.found_pills("test", answered.test_frames, options.match_iou, classes),
    ]
    exports.write_parquet(out / "pipeline.parquet", pd.concat(frames, ignore_index=True))
    truth, found = exports.coco_files(answered.val_frames)
    exports.write_json(out / "coco" / "ground_truth.json", truth)
    exports.write_json(out / "coco" / "detections.json", found)
    montage.draw(out / "figures", answered, fitted, classes, places, options)
    pictures = {name: _jpeg(out / "figures" / f"{name}.png") for name in PICTURES}
    page = report.render(measured, curves, table, pictures, params.scale)
    files.write_text(out / "report.html", page)
    architectures = {name: str(config["architecture"]) for name, config in models.items()}
    card = model_card.render(measured, classes, params.scale, architectures)
    files.write_text(places.model_card, card)
    weights, config = checkpoints.load_published(places.checkpoint("classification"))
    row = tables.timm_row(measured["classification"], config, weights)
    tables.write(out / "results_classification.csv", [row])
    tables.write(out / "results_detection.csv", tables.by_epoch(places.epochs))


def plots(
    answered: Answers, fitted: Calibration, classes: pd.DataFrame, rows: int
) -> dict[str, list[Json]]:
    """Name of each plot's file and its rows."""
    known = answered.val.known()
    truth, named = known.truth, known.logits.argmax(axis=1)
    sure = scores.confidences(known.logits, fitted.temperature)
    score = fitted.refusal_score(known.outputs)
    pairs = breakdown.confusions(truth, named, sure)[:rows]
    return {
        "pr_curve": sections.pr_curve(answered.val_frames),
        "reliability": metrics.reliability(sure, named == truth),
        "coverage": metrics.coverage(score, named == truth),
        "worst_classes": breakdown.worst(breakdown.per_class(truth, named, classes), rows),
        "confusions": breakdown.confusion_rows(pairs, classes),
    }


def provenance(places: Places, device: str) -> Json:
    """What the figures were measured on. In a list, so that `dvc metrics diff` keeps to figures."""
    return {
        "class_table_hash": manifest.class_table_hash(places.classes),
        "data_fingerprint": honesty.read(places.sampling).get("fingerprint"),
        "git_revision": _git_revision(),
        **{f"{name}_sha256": files.sha256_of(places.checkpoint(name)) for name in MODELS},
        "map": coco.name(),
        "intervals": "95 %, capture groups drawn with replacement",
        "device": device,
    }


def _git_revision() -> str | None:
    """The commit the work tree stands on, or None outside a repository."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _jpeg(png: Path) -> bytes:
    buffer = io.BytesIO()
    Image.open(png).convert("RGB").save(buffer, "JPEG", quality=REPORT_QUALITY, subsampling=0)
    return buffer.getvalue()
