"""Tables that other programs read: Parquet rows of pills, COCO JSON, Ultralytics' CSV."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pillsnap import files
from pillsnap.evaluation import matching
from pillsnap.evaluation.answers import CropAnswers, FrameAnswer, FrameSet
from pillsnap.evaluation.inference import TOP
from pillsnap.files import Json
from pillsnap.recognition import scores
from pillsnap.recognition.calibration import Calibration

BOX = ["box_x", "box_y", "box_w", "box_h"]
PILL = ["image_path", "image_type", "group_id", *BOX, "mapping_code", "class_index", "known"]
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


def crops(
    split: str, pills: CropAnswers, fitted: Calibration, classes: pd.DataFrame
) -> pd.DataFrame:
    """A row per labelled pill: its place and code, the best five codes with their probabilities,
    the refusal score and whether it was refused."""
    table = pills.table[PILL].copy()
    table.insert(0, "split", split)
    order = np.argsort(-pills.logits, axis=1, kind="stable")[:, :TOP]
    codes = classes["mapping_code"].to_numpy(dtype=object)
    chances = np.empty(order.shape)
    for rows in scores.slices(len(pills)):
        every = scores.probabilities(pills.logits[rows], fitted.temperature)
        chances[rows] = np.take_along_axis(every, order[rows], axis=1)
    score = fitted.refusal_score(pills)
    table["codes"] = codes[order].tolist()
    table["probabilities"] = chances.tolist()
    table["refusal_score"] = score
    table["refused"] = score < fitted.threshold
    return table


def pills(split: str, frames: FrameSet, classes: pd.DataFrame) -> pd.DataFrame:
    """A row per predicted or missed pill of a frame: boxes x1 y1 x2 y2, codes, outcome."""
    codes = [*classes["mapping_code"], ""]  # index -1: refused, or of an unknown code
    rows: list[Json] = []
    for frame in frames.frames:
        outcome = frame.match
        place = {"split": split, "image_path": frame.image_path, "image_type": frame.image_type}
        for row, what in enumerate(outcome.predicted):
            predicted = _predicted(frame, row, outcome.pairs.get(row), codes)
            rows.append({**place, "outcome": what, **predicted})
        for row, what in enumerate(outcome.labelled):
            if what == "missed":
                rows.append({**place, "outcome": what, **_label(frame, row, codes)})
    return pd.DataFrame(rows)


def coco_files(frames: FrameSet) -> tuple[Json, list[Json]]:
    """COCO ground truth and results of the detector, one class (id 0, "pill")."""
    images = [{"id": i, "file_name": frame.image_path} for i, frame in enumerate(frames.frames)]
    return matching.ground_truth(frames.labelled, images), matching.detections(frames.found)


def by_epoch(metrics_dir: Path) -> pd.DataFrame:
    """A row per epoch of the detector's training, out of those of DVCLive's TSV files there are."""
    paths = {name: metrics_dir / f"{file}.tsv" for name, file in BY_EPOCH.items()}
    columns = {
        name: pd.read_csv(path, sep="\t", index_col=0, dtype=str).iloc[:, 0]
        for name, path in paths.items()
        if path.is_file()
    }
    return pd.DataFrame(columns).rename_axis("epoch").reset_index()


def write_parquet(path: Path, parts: Sequence[pd.DataFrame]) -> None:
    """The parts as one Parquet file; equal tables give equal bytes."""
    table = pd.concat(parts, ignore_index=True)
    with files.replacing(path) as temporary:
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), temporary)


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """A CSV file; of no rows an empty one."""
    files.write_text(path, table.to_csv(index=False, lineterminator="\n") if len(table) else "")


def _predicted(frame: FrameAnswer, row: int, label: int | None, codes: list[str]) -> Json:
    true = {} if label is None else _label(frame, label, codes)
    return {
        **true,
        "box": frame.predicted[row].tolist(),
        "code": codes[frame.predicted_class[row]],
        "refused": bool(frame.predicted_class[row] < 0),
        "box_confidence": float(frame.box_confidence[row]),
        "confidence": float(frame.confidence[row]),
        "refusal_score": float(frame.refusal_score[row]),
        "codes": [codes[index] for index in frame.top_class[row]],
        "probabilities": frame.top_probability[row].tolist(),
    }


def _label(frame: FrameAnswer, row: int, codes: list[str]) -> Json:
    true = codes[frame.labelled_class[row]]
    return {"true_box": frame.labelled[row].tolist(), "true_code": true}
