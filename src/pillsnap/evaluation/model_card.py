"""The model card beside the checkpoints, as Markdown: data, split, figures, limits."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pillsnap.evaluation.report import NO_DEVICE, SYNTHETIC, shown

Json = Mapping[str, Any]

LIMITS = """\
- {device}
- It knows the classes of `classes.csv` and no other pill. The score that refuses the others lets
  {accepted} of the known pills of val through, and {passed} of the pills never learnt.
- Photos: studio frames from above on a turntable, one kind of camera. Photos from a phone are
  harder; nothing here says by how much.
- Whole pills only; broken ones were never seen.
- `classification.*` are measured in the labels' boxes, `pipeline.*` in the detector's own.
"""


def render(measured: Json, classes: pd.DataFrame, scale: str, models: Mapping[str, str]) -> str:
    """The card for a metrics.json; `models` maps detection and classification to architectures."""
    origin = measured["provenance"][0]
    unknown = measured["unknown"]
    limits = LIMITS.format(
        device=NO_DEVICE,
        accepted=shown(unknown["known_accepted"]),
        passed=shown(unknown["unknown_accepted"]),
    )
    synthetic = f"\n**{SYNTHETIC}**\n" if scale == "demo" else ""
    return f"""\
# PillSnap, {scale}: finds pills in a photo and names them
{synthetic}
{NO_DEVICE}

## Models
- Detector: {models["detection"]}, one class "pill".
- Classifier: {models["classification"]}, {len(classes):,} K-codes, on crops around each box.
- Names are calibrated (temperature {measured["classification"]["temperature"]:.3f}).
- A pill unlike all classes is refused.

## Data
- Pills to learn from: {int(classes["train_pills"].sum()):,}. To measure on:
  {int(classes["val_pills"].sum()):,}, and {unknown["pills"]:,} of codes never learnt.
- Split by capture group: a code on one background under one light from one side is never in two
  splits, nor is a combination folder. Val chose the best epoch, the temperature and the refusal;
  test chose nothing.
- Class table {origin["class_table_hash"][:16]}, data {_short(origin["data_fingerprint"])}, commit
  {_short(origin["git_revision"])}.

## Figures
95 % intervals, capture groups drawn with replacement. mAP by {origin["map"]}.

{_figures(measured)}

## Limits
{limits}"""


def _figures(measured: Json) -> str:
    names = [
        ("classification", "top1"),
        ("classification", "top5"),
        ("classification", "macro_f1"),
        ("classification", "ece"),
        ("detection", "map50"),
        ("detection", "map50_95"),
        ("pipeline", "pill_precision"),
        ("pipeline", "pill_recall"),
        ("pipeline", "pill_f1"),
        ("pipeline", "frame_exact"),
        ("unknown", "auroc"),
        ("unknown", "fpr_at_95_recall"),
    ]
    rows = [
        f"| {part}.{key} | {shown(measured[part][key], measured[part]['ci'].get(key))} |"
        for part, key in names
    ]
    return "\n".join(["| figure | value |", "|---|---|", *rows])


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("sha256")
    return str(value)[:16] if value else "not recorded"
