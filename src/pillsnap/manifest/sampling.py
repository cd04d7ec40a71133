"""sampling.json: what was chosen, what was left out and why, as counts."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from pillsnap.dataset.manifest import Rows
from pillsnap.manifest.build import Selection
from pillsnap.manifest.choice import UNUSED

WANTED = (
    "samples", "classes", "combination_share", "val_share", "min_train_per_class",
    "min_val_per_class", "test_unknown_pills",
)  # fmt: skip
VIEWS = ("light", "back", "direction", "latitude")


def report(selection: Selection, rows: dict[str, Rows], manifest_bytes: int) -> dict[str, Any]:
    """The content of sampling.json; `rows`: the manifests by split."""
    params, frames = selection.params, selection.candidates
    counted = {name: counts(table) for name, table in rows.items()}
    train, val = counted["train"], counted["val"]
    samples = train["pills"] + val["pills"]
    combined = sum(one["pills_by"]["image_type"].get("combination", 0) for one in (train, val))
    chosen = selection.choice.split != UNUSED
    return {
        "scale": params.scale,
        "seed": params.seed,
        "fingerprint": asdict(selection.fingerprint),
        "wanted": {name: getattr(params.at_scale, name) for name in WANTED},
        "got": {
            "samples": samples,
            "classes": len(selection.choice.classes),
            "combination_share": combined / max(samples, 1),
            "val_share": val["pills"] / max(samples, 1),
        },
        "counts": counted,
        "on_disk": _on_disk(selection),
        "labels_read": selection.labels_read,
        "photo_bytes": int(frames.photo_bytes[chosen].sum()),
        "manifest_bytes": manifest_bytes,
        "corrections": selection.corrections,
        "left_out_codes": [frames.codes[code] for code in selection.choice.left_out],
        "left_out": selection.left_out.as_dict(),
        "findings": selection.findings.as_dict(),
    }


def counts(rows: Rows) -> dict[str, Any]:
    """Pills, photos, classes and groups of a manifest, and pills by what can bias a model."""
    per_class = np.unique(rows["class_index"][rows["known"]], return_counts=True)[1]
    by = ("image_type", "part", *VIEWS)
    type_of = dict(zip(rows["image_path"], rows["image_type"], strict=True))
    return {
        "pills": len(rows["image_path"]),
        "frames": len(type_of),
        "known_pills": int(per_class.sum()),
        "classes": len(per_class),
        "groups": len(set(rows["group_id"])),
        "pills_per_class": {
            "least": int(per_class.min()) if len(per_class) else 0,
            "median": float(np.median(per_class)) if len(per_class) else 0.0,
            "most": int(per_class.max()) if len(per_class) else 0,
        },
        "pills_by": {name: _tally(rows[name].tolist()) for name in by},
        "frames_by_image_type": _tally(type_of.values()),
    }


def _tally(values: Iterable[Any]) -> dict[str, int]:
    return dict(sorted((str(value), count) for value, count in Counter(values).items()))


def _on_disk(selection: Selection) -> dict[str, Any]:
    """Files found by part, kind and type; photos that can be used according to their names."""
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
