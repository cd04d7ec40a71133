"""The model card next to the checkpoints, as Markdown: data, split, metrics, limits."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pillsnap.evaluation.report import NO_DEVICE, SYNTHETIC, shown

Json = Mapping[str, Any]

METRICS = {
    "classification": ("top1", "top5", "macro_f1", "ece"),
    "detection": ("map50", "map50_95"),
    "pipeline": ("pill_precision", "pill_recall", "pill_f1", "pill_f1_unrefused", "frame_exact"),
    "unknown": ("auroc", "fpr_at_95_recall"),
}
LIMITS = """\
- {device}
- It knows the classes of `classes.csv` and no other pill. Of pills in single photos, the refusal
  accepts {known} of val's known ones and {unknown} of the unknown ones, by code from {best}
  to {worst}.
- Photos: studio frames from above on a turntable, one kind of camera. Photos from a phone are
  harder; these metrics do not say by how much.
- Whole pills only; there were no broken ones in the data.
- `classification.*` are measured in the labels' boxes, `pipeline.*` in the detector's own.
"""


def render(measured: Json, classes: pd.DataFrame, scale: str) -> str:
    """The card for an evaluation.json."""
    origin, unknown = measured["provenance"], measured["unknown"]
    models = {name: model["architecture"] for name, model in measured["models"].items()}
    accepted = [row["accepted"] for row in unknown["by_code"]]
    limits = LIMITS.format(
        device=NO_DEVICE,
        known=shown(unknown["known"]["single"]["accepted"]),
        unknown=shown(unknown["accepted"], unknown["ci"]["accepted"]),
        best=shown(min(accepted, default=None)),
        worst=shown(max(accepted, default=None)),
    )
    synthetic = f"\n**{SYNTHETIC}**\n" if scale == "demo" else ""
    return f"""\
# PillSnap, {scale}: detects pills in a photo and classifies them
{synthetic}
{NO_DEVICE}

## Models
- Detector: {models["detection"]}, one class "pill".
- Classifier: {models["classification"]}, {len(classes):,} K-codes, on crops around each box.
- Probabilities are calibrated (temperature {measured["classification"]["temperature"]:.3f}).
- A pill unlike all classes is refused.

## Data
- Training pills: {int(classes["train_pills"].sum()):,}. Validation pills:
  {int(classes["val_pills"].sum()):,}. Unknown pills for testing: {unknown["pills"]:,}, of
  {unknown["codes"]:,} codes.
- Split by capture group: a code on one background under one light from one side is never in two
  splits, nor is a combination folder. The best epoch, the temperature and the refusal were chosen
  on val; nothing was chosen on test.
- Class table {origin["class_table_hash"][:16]}, data {_short(origin["data_fingerprint"])}, commit
  {_short(origin["git_revision"])}.

## Metrics
On val, unknown pills of test. 95 % intervals by capture groups, for unknown pills by codes.
mAP by {origin["map"]}.

{_metrics(measured)}

## Limits
{limits}"""


def _metrics(measured: Json) -> str:
    rows = [
        f"| {part}.{key} | {shown(measured[part][key], measured[part]['ci'].get(key))} |"
        for part, keys in METRICS.items()
        for key in keys
    ]
    return "\n".join(["| metric | value |", "|---|---|", *rows])


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("sha256")
    return str(value)[:16] if value else "not recorded"
