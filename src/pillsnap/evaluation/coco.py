"""Mean average precision by faster-coco-eval, and the COCO JSON it reads: its only import."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from pillsnap.arrays import Bools, Ints
from pillsnap.boxes import Boxes, to_xywh
from pillsnap.files import Json

MAX_BOXES = 100  # a frame: COCO's limit
PILL = {"id": 0, "name": "pill"}  # the only category


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
    box = to_xywh(labelled.box).astype(float)
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
    box = to_xywh(found.box).astype(float).tolist()
    rows = zip(found.frame.tolist(), box, found.score.tolist(), strict=True)
    return [
        {"image_id": frame, "category_id": PILL["id"], "bbox": xywh, "score": score}
        for frame, xywh, score in rows
    ]
