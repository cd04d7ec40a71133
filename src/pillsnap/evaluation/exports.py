"""The answers in formats others read: Parquet per pill, COCO JSON, plain JSON for plots."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pillsnap import files
from pillsnap.evaluation import answers, coco
from pillsnap.evaluation.answers import CropAnswers, FrameAnswer
from pillsnap.evaluation.inference import TOP
from pillsnap.recognition import scores
from pillsnap.recognition.calibration import Calibration

BOX = ["box_x", "box_y", "box_w", "box_h"]
PILL = ["image_path", "image_type", "group_id", *BOX, "mapping_code", "class_index", "known"]


def write_json(path: Path, tree: Any) -> None:
    """Indented UTF-8 JSON, keys in their order; NaN and infinity are refused."""
    text = json.dumps(tree, ensure_ascii=False, indent=2, allow_nan=False)
    files.write_text(path, text + "\n")


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """A Parquet file; equal tables give equal bytes."""
    with files.replacing(path) as temporary:
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), temporary)


def named_crops(
    split: str, pills: CropAnswers, fitted: Calibration, classes: pd.DataFrame
) -> pd.DataFrame:
    """A row per labelled pill: its place and code, the best five codes with their probabilities,
    the refusal score and whether it was refused."""
    table = pills.table[PILL].copy()
    table.insert(0, "split", split)
    order = np.argsort(-pills.logits, axis=1, kind="stable")[:, :TOP]
    codes = classes["mapping_code"].to_numpy(dtype=object)
    sure = np.empty(order.shape)
    for start in range(0, len(pills), scores.ROWS):
        rows = slice(start, start + scores.ROWS)
        every = scores.probabilities(pills.logits[rows], fitted.temperature)
        sure[rows] = np.take_along_axis(every, order[rows], axis=1)
    score = fitted.refusal_score(pills.outputs)
    table["codes"] = codes[order].tolist()
    table["probabilities"] = sure.tolist()
    table["refusal_score"] = score
    table["refused"] = score < fitted.threshold
    return table


def found_pills(
    split: str, frames: Sequence[FrameAnswer], match_iou: float, classes: pd.DataFrame
) -> pd.DataFrame:
    """A row per predicted or missed pill of a frame: boxes x1 y1 x2 y2, names, outcome."""
    codes = [*classes["mapping_code"], ""]  # index -1: refused, or of a code never learnt
    rows: list[dict[str, Any]] = []
    for frame in frames:
        outcome = frame.match(match_iou)
        partner = dict(outcome.pairs)
        place = {"split": split, "image_path": frame.image_path, "image_type": frame.image_type}
        for row, what in enumerate(outcome.predicted):
            rows.append({**place, "outcome": what, **_named(frame, row, partner.get(row), codes)})
        for row, what in enumerate(outcome.labelled):
            if what == "missed":
                rows.append({**place, "outcome": what, **_label(frame, row, codes)})
    return pd.DataFrame(rows)


def coco_files(frames: Sequence[FrameAnswer]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """COCO ground truth and results of the detector, one class (id 0, "pill")."""
    images = [{"id": i, "file_name": frame.image_path} for i, frame in enumerate(frames)]
    truth = coco.ground_truth(answers.labelled_boxes(frames), len(frames), images)
    truth["categories"] = [{"id": 0, "name": "pill"}]
    return truth, coco.detections(answers.found_boxes(frames))


def _named(frame: FrameAnswer, row: int, label: int | None, codes: list[str]) -> dict[str, Any]:
    true = {} if label is None else _label(frame, label, codes)
    return {
        **true,
        "box": frame.named[row].tolist(),
        "code": codes[frame.named_class[row]],
        "refused": bool(frame.named_class[row] < 0),
        "box_confidence": float(frame.box_confidence[row]),
        "confidence": float(frame.confidence[row]),
        "refusal_score": float(frame.refusal_score[row]),
        "codes": [codes[index] for index in frame.top_class[row]],
        "probabilities": frame.top_probability[row].tolist(),
    }


def _label(frame: FrameAnswer, row: int, codes: list[str]) -> dict[str, Any]:
    true = codes[frame.labelled_class[row]]
    return {"true_box": frame.labelled[row].tolist(), "true_code": true}
