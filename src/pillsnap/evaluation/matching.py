"""Predicted against labelled boxes: the outcome of each pill, and mean average precision by
faster-coco-eval, whose only import this is, with the COCO JSON it reads.

A class is an index, UNKNOWN (-1) for a labelled pill of an unknown code and for a predicted pill
that was refused: an unknown pill is right when it is refused.

Pairs are assigned optimally (Hungarian): the most right pairs, then the most pairs, then the
largest overlap, whatever the order of the boxes. Average precision alone pairs greedily by score,
as COCO does.

Outcomes:
  right                    IoU >= match_iou with a labelled pill of the same class, one to one
  wrong_name               a known pill classified as another class
  known_refused            a known pill refused as unknown
  unknown_taken_for_known  an unknown pill that was not refused
  missed                   a labelled pill no prediction was paired with
  duplicated               a prediction over a labelled pill that another prediction is paired with
  false_box                a prediction that reaches match_iou with no labelled pill
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pillsnap import boxes
from pillsnap.arrays import Bools, Ints
from pillsnap.boxes import Boxes
from pillsnap.dataset.manifest import UNKNOWN
from pillsnap.files import Json

RIGHT = "right"
ERRORS = (
    "wrong_name",
    "known_refused",
    "unknown_taken_for_known",
    "missed",
    "duplicated",
    "false_box",
)
MAX_BOXES = 100  # a frame: COCO's limit
PILL = {"id": 0, "name": "pill"}  # the only category


@dataclass(frozen=True)
class FrameMatch:
    """Outcome of each predicted and each labelled pill of one frame."""

    predicted: list[str]
    labelled: list[str]
    pairs: dict[int, int]  # predicted -> labelled

    @property
    def right(self) -> int:
        """Right pairs."""
        return self.predicted.count(RIGHT)

    @property
    def exact(self) -> bool:
        """Every labelled pill is right and nothing else was predicted."""
        return self.right == len(self.predicted) == len(self.labelled)

    def errors(self) -> dict[str, int]:
        """Count of each kind of error; a wrong pair counts once."""
        counts = {kind: self.predicted.count(kind) for kind in ERRORS}
        return {**counts, "missed": self.labelled.count("missed")}


def match(
    predicted: Boxes, predicted_class: Ints, labelled: Boxes, labelled_class: Ints, match_iou: float
) -> FrameMatch:
    """Pair predicted boxes [p, 4] with labelled boxes [l, 4] of one frame, x1 y1 x2 y2."""
    overlap = boxes.iou(predicted, labelled)
    same = predicted_class[:, None] == labelled_class[None, :]
    touching = overlap >= match_iou
    most = min(overlap.shape) + 1.0  # more than all overlaps of an assignment together
    worth = np.where(touching, overlap + most + np.where(same, most**2, 0.0), 0.0)
    assigned = zip(*linear_sum_assignment(worth, maximize=True), strict=True)
    pairs = {int(row): int(column) for row, column in assigned if touching[row, column]}
    of_predicted = np.where(touching.any(axis=1), "duplicated", "false_box").tolist()
    of_labelled = ["missed"] * len(labelled)
    for row, column in pairs.items():
        outcome = _outcome(int(predicted_class[row]), int(labelled_class[column]))
        of_predicted[row] = of_labelled[column] = outcome
    return FrameMatch(of_predicted, of_labelled, pairs)


def greedy(found: Boxes, labelled: Boxes, match_iou: float) -> Bools:
    """Which found boxes (best first) take a labelled box of their own, as COCO pairs them."""
    overlap = boxes.iou(found, labelled)
    matched = np.zeros(len(found), dtype=np.bool_)
    for row in range(len(found) if len(labelled) else 0):
        column = int(np.argmax(overlap[row]))
        if overlap[row, column] >= match_iou:
            matched[row] = True
            overlap[:, column] = -1.0
    return matched


def _outcome(predicted_class: int, labelled_class: int) -> str:
    if predicted_class == labelled_class:
        return RIGHT
    if labelled_class == UNKNOWN:
        return "unknown_taken_for_known"
    return "known_refused" if predicted_class == UNKNOWN else "wrong_name"


@dataclass(frozen=True)
class Instances:
    """Boxes of many frames: `frame` [n], `box` [n, 4] x1 y1 x2 y2, `score` [n] (1 for labels)."""

    frame: Ints
    box: Boxes
    score: NDArray[np.float64]

    def where(self, keep: Bools) -> "Instances":
        """The instances to keep."""
        return Instances(self.frame[keep], self.box[keep], self.score[keep])


def evaluator() -> str:
    """Name and settings of the evaluator, for the provenance of a metric."""
    limit = f"101 recall points, at most {MAX_BOXES} boxes a frame"
    return f"faster-coco-eval {version('faster-coco-eval')} (COCO bbox, {limit})"


class Evaluator:
    """Labelled and found boxes of frames 0 .. `frames` - 1 in one COCO tree, of which any frames
    can be measured."""

    def __init__(self, labelled: Instances, found: Instances, frames: int) -> None:
        self._labelled = labelled
        self._truth = COCO(ground_truth(labelled, [{"id": frame} for frame in range(frames)]))
        self._found = self._truth.loadRes(detections(found))

    def measure(self, frames: Ints) -> Json:
        """mAP on some frames: `map50` at IoU 0.5 and `map50_95` over 0.5:0.05:0.95; None when
        nothing is labelled."""
        if not np.isin(self._labelled.frame, frames).any():
            return {"map50": None, "map50_95": None}
        evaluation = COCOeval_faster(self._truth, self._found, iouType="bbox")
        settings = evaluation.params
        settings.imgIds, settings.maxDets = frames.tolist(), [MAX_BOXES]
        settings.areaRng, settings.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
        precision = evaluation.eval["precision"]  # [iou, recall, category, area, limit]
        return {"map50": float(precision[0].mean()), "map50_95": float(precision.mean())}


def ground_truth(labelled: Instances, images: Sequence[Json]) -> Json:
    """COCO's dictionary of labels; `images` are its image entries (id, file_name, ...)."""
    box = boxes.to_xywh(labelled.box).astype(float)
    annotations = [
        {
            "id": index + 1,
            "image_id": frame,
            "category_id": PILL["id"],
            "bbox": xywh,
            "area": xywh[2] * xywh[3],
            "iscrowd": 0,
        }
        for index, (frame, xywh) in enumerate(
            zip(labelled.frame.tolist(), box.tolist(), strict=True)
        )
    ]
    return {"images": list(images), "annotations": annotations, "categories": [PILL]}


def detections(found: Instances) -> list[Json]:
    """COCO's list of results."""
    box = boxes.to_xywh(found.box).astype(float).tolist()
    rows = zip(found.frame.tolist(), box, found.score.tolist(), strict=True)
    return [
        {"image_id": frame, "category_id": PILL["id"], "bbox": xywh, "score": score}
        for frame, xywh, score in rows
    ]
