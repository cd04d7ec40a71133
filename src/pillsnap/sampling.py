"""sampling.json: how many of what were chosen, what was left out and why."""

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from pillsnap.choice import NOWHERE
from pillsnap.selection import Selection

WANTED = (
    "samples", "classes", "combination_share", "val_share", "min_train_per_class",
    "min_val_per_class", "test_unknown_pills",
)  # fmt: skip
VIEWS = ("light", "back", "direction", "latitude")


def report(
    selection: Selection, rows: dict[str, pd.DataFrame], manifest_bytes: int
) -> dict[str, Any]:
    """Everything sampling.json says; `rows`: the manifests by split."""
    order, frames = selection.order, selection.candidates
    samples = pd.concat([rows["train"], rows["val"]])
    chosen = selection.choice.split != NOWHERE
    return {
        "scale": order.scale,
        "seed": order.seed,
        "fingerprint": asdict(selection.fingerprint),
        "wanted": {name: getattr(order.wanted, name) for name in WANTED},
        "got": {
            "samples": len(samples),
            "classes": len(selection.choice.classes),
            "combination_share": _share(samples["image_type"] == "combination"),
            "val_share": len(rows["val"]) / max(len(samples), 1),
        },
        "counts": {name: counts(table) for name, table in rows.items()},
        "on_disk": _on_disk(selection),
        "labels_read": selection.labels_read,
        "photo_bytes": int(frames.photo_bytes[chosen].sum()),
        "manifest_bytes": manifest_bytes,
        "incomplete_combinations": "chosen too" if order.keep_incomplete else "left out",
        "left_out_codes": [frames.codes[code] for code in selection.choice.left_out],
        "left_out": selection.left_out.as_dict(),
        "findings": selection.findings.as_dict(),
    }


def counts(table: pd.DataFrame) -> dict[str, Any]:
    """Pills, frames, classes, groups of a manifest, and pills by what can skew a model."""
    known = table[table["known"]]
    per_class = known["mapping_code"].astype(str).value_counts()
    by = ("image_type", "part", *VIEWS)
    return {
        "pills": len(table),
        "frames": int(table["image_path"].nunique()),
        "known_pills": len(known),
        "classes": len(per_class),
        "groups": int(table["group_id"].nunique()),
        "pills_per_class": {
            "least": int(per_class.min()) if len(per_class) else 0,
            "median": float(per_class.median()) if len(per_class) else 0.0,
            "most": int(per_class.max()) if len(per_class) else 0,
        },
        "pills_by": {name: _tally(table[name]) for name in by},
        "frames_by_image_type": _tally(table.drop_duplicates("image_path")["image_type"]),
    }


def _tally(column: "pd.Series[Any]") -> dict[str, int]:
    values = column.astype(str).value_counts().sort_index()
    return {str(value): int(count) for value, count in values.items()}


def _share(flags: "pd.Series[bool]") -> float:
    return float(flags.mean()) if len(flags) else 0.0


def _on_disk(selection: Selection) -> dict[str, Any]:
    """Files met by the walk, by kind, part and type; frames that names alone let in."""
    files: Counter[str] = Counter()
    for folder in selection.candidates.folders:
        files[f"{folder.part}/{folder.kind}/{folder.image_type}"] += len(folder.names)
    frames = selection.candidates
    learnable = frames.code[frames.train & frames.single]
    return {
        "files": dict(sorted(files.items())),
        "frames_with_labels": len(frames.stems),
        "complete_frames": int(np.count_nonzero(frames.complete)),
        "codes": len(frames.codes),
        "codes_with_single_photos_in_train": len(np.unique(learnable)),
    }
