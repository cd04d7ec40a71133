"""Results as the tables other projects read: timm's results row, Ultralytics' results.csv."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from pillsnap import files

Json = dict[str, Any]

# Ultralytics 8.4's columns and our files; it splits the losses and counts seconds, we do not.
BY_EPOCH = {
    "train/loss": "loss/train",
    "metrics/precision(B)": "precision",
    "metrics/recall(B)": "recall",
    "metrics/mAP50(B)": "map50",
    "metrics/mAP50-95(B)": "map50_95",
    "val/loss": "loss/val",
    "lr/pg0": "lr",
}
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")  # no parameters


def timm_row(
    classification: Mapping[str, Any], config: Mapping[str, Any], weights: Mapping[str, Any]
) -> Json:
    """A row as in timm's results-*.csv: per cent, and millions of parameters; "" for no value."""
    parameters = sum(
        tensor.numel()
        for name, tensor in weights.items()
        if isinstance(tensor, torch.Tensor) and not name.endswith(BUFFERS)
    )
    row: Json = {"model": config["architecture"]}
    for name in ("top1", "top5"):
        value = classification[name]
        row[name] = "" if value is None else f"{value * 100:.3f}"
        row[f"{name}_err"] = "" if value is None else f"{100 - value * 100:.3f}"
    return {**row, "param_count": f"{parameters / 1e6:.2f}", "img_size": config["image_px"]}


def by_epoch(metrics_dir: Path) -> list[Json]:
    """A row per epoch of the detector's training, out of DVCLive's TSV files; [] without them."""
    columns = {}
    for name, file in BY_EPOCH.items():
        path = metrics_dir / f"{file}.tsv"
        if path.is_file():
            table = pd.read_csv(path, sep="\t", index_col=0, dtype=str, keep_default_na=False)
            columns[name] = table.iloc[:, 0]
    if not columns:
        return []
    joined = pd.DataFrame(columns).fillna("")
    joined.insert(0, "epoch", joined.index)
    return [{str(name): value for name, value in row.items()} for row in joined.to_dict("records")]


def write(path: Path, rows: Sequence[Json]) -> None:
    """A CSV file; of no rows an empty one."""
    text = pd.DataFrame(list(rows)).to_csv(index=False, lineterminator="\n") if rows else ""
    files.write_text(path, text)
