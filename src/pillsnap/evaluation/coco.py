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
CHUNK = 100  # classes evaluated at a time: 1,000 at once take 5.7 GB


@dataclass(frozen=True)
class Instances:
    """Boxes of many frames in flat arrays: `frame` [n], `box` [n, 4] x1 y1 x2 y2, `class_index`
    [n] (0 throughout when the classes do not matter), `score` [n] (1 for labels)."""

    frame: Ints
    box: Boxes
    class_index: Ints
    score: NDArray[np.float64]

    def where(self, keep: Bools) -> "Instances":
        """The instances to keep."""
        kept = (self.frame[keep], self.box[keep], self.class_index[keep], self.score[keep])
        return Instances(*kept)


@dataclass(frozen=True)
class Precisions:
    """Means over the labelled classes; None when nothing is labelled."""

    map50: float | None
    map50_95: float | None


def evaluator() -> str:
    """Name and settings of the evaluator, for the provenance of a metric."""
    limit = f"101 recall points, at most {MAX_BOXES} boxes a frame"
    return f"faster-coco-eval {version('faster-coco-eval')} (COCO bbox, {limit})"


class Evaluator:
    """Labelled and found boxes of frames 0 .. `frames` - 1 in one COCO tree, of which any frames
    can be measured."""

    def __init__(self, labelled: Instances, found: Instances, frames: int) -> None:
        found = found.where(np.isin(found.class_index, labelled.class_index))
        self._labelled, self._predicted = labelled, found
        self._truth = COCO(ground_truth(labelled, [{"id": frame} for frame in range(frames)]))
        self._found = self._truth.loadRes(detections(found))

    def measure(self, frames: Ints) -> Precisions:
        """mAP at IoU 0.5 and over 0.5:0.05:0.95 on some frames, averaged over the classes that
        are labelled there."""
        here = np.isin(self._labelled.frame, frames)
        classes = np.unique(self._labelled.class_index[here]).tolist()
        if not classes:
            return Precisions(None, None)
        starts = range(0, len(classes), CHUNK)
        parts = [self._precision(frames, classes[start : start + CHUNK]) for start in starts]
        precision = np.concatenate(parts, axis=2)  # [iou, recall, class]
        return Precisions(float(precision[0].mean()), float(precision.mean()))

    def _precision(self, frames: Ints, classes: list[int]) -> NDArray[np.float64]:
        """[10 IoUs, 101 recalls, classes]; only frames that hold one of the classes take time."""
        both = (self._labelled, self._predicted)
        holding = [part.frame[np.isin(part.class_index, classes)] for part in both]
        frames = np.intersect1d(frames, np.concatenate(holding))
        evaluation = COCOeval_faster(self._truth, self._found, iouType="bbox")
        settings = evaluation.params
        settings.imgIds, settings.catIds, settings.maxDets = frames.tolist(), classes, [MAX_BOXES]
        settings.areaRng, settings.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
        return np.asarray(evaluation.eval["precision"][:, :, :, 0, 0], dtype=np.float64)


def ground_truth(labelled: Instances, images: Sequence[Json]) -> Json:
    """COCO's dictionary of labels; `images` are its image entries (id, file_name, ...)."""
    box = to_xywh(labelled.box).astype(float)
    rows = zip(labelled.frame.tolist(), box.tolist(), labelled.class_index.tolist(), strict=True)
    annotations = [
        {
            "id": index + 1,
            "image_id": frame,
            "category_id": category,
            "bbox": xywh,
            "area": xywh[2] * xywh[3],
            "iscrowd": 0,
        }
        for index, (frame, xywh, category) in enumerate(rows)
    ]
    categories = [{"id": int(c), "name": str(c)} for c in np.unique(labelled.class_index)]
    return {"images": list(images), "annotations": annotations, "categories": categories}


def detections(found: Instances) -> list[Json]:
    """COCO's list of results."""
    box = to_xywh(found.box).astype(float).tolist()
    columns = (found.frame.tolist(), box, found.class_index.tolist(), found.score.tolist())
    return [
        {"image_id": frame, "category_id": category, "bbox": xywh, "score": score}
        for frame, xywh, category, score in zip(*columns, strict=True)
    ]
