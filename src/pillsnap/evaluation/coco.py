"""Mean average precision by faster-coco-eval, and the COCO JSON it reads: its only import."""

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from pillsnap.arrays import Ints
from pillsnap.boxes import Boxes, to_xywh

MAX_BOXES = 100  # a frame: COCO's limit
CHUNK = 100  # classes evaluated at a time: 1,000 at once take 5.7 GB

Json = dict[str, Any]


@dataclass(frozen=True)
class Instances:
    """Boxes of many frames in flat arrays: `frame` [n], `box` [n, 4] x1 y1 x2 y2, `class_index`
    [n] (0 throughout when the classes do not matter), `score` [n] (1 for labels)."""

    frame: Ints
    box: Boxes
    class_index: Ints
    score: NDArray[np.float64]

    def of_classes(self, low: int, high: int) -> "Instances":
        """Those of the classes low <= class < high."""
        keep = (self.class_index >= low) & (self.class_index < high)
        kept = (self.frame[keep], self.box[keep], self.class_index[keep], self.score[keep])
        return Instances(*kept)


@dataclass(frozen=True)
class Precisions:
    """Means over the labelled classes; None when nothing is labelled."""

    map50: float | None
    map50_95: float | None
    curve: NDArray[np.float64]  # precision at 101 recalls, IoU 0.5, of a single class; else empty


def name() -> str:
    """The evaluator, to stand beside its figures."""
    limit = f"101 recall points, at most {MAX_BOXES} boxes a frame"
    return f"faster-coco-eval {version('faster-coco-eval')} (COCO bbox, {limit})"


def measure(labelled: Instances, found: Instances, frames: int) -> Precisions:
    """mAP at IoU 0.5 and over 0.5:0.05:0.95, averaged over the classes that are labelled."""
    classes = np.unique(labelled.class_index)
    parts = [
        _precisions(labelled.of_classes(low, high), found.of_classes(low, high), frames)
        for low, high in _chunks(classes)
    ]
    if not parts:
        return Precisions(None, None, np.empty(0))
    precision = np.concatenate(parts, axis=2)  # [iou, recall, class]
    curve = precision[0, :, 0] if len(classes) == 1 else np.empty(0)
    return Precisions(float(precision[0].mean()), float(precision.mean()), curve)


def ground_truth(labelled: Instances, frames: int, names: list[Json] | None = None) -> Json:
    """COCO's dictionary of labels; `names` are its image entries (id, file_name, ...)."""
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
    images = names or [{"id": frame} for frame in range(frames)]
    return {"images": images, "annotations": annotations, "categories": categories}


def detections(found: Instances) -> list[Json]:
    """COCO's list of results."""
    box = to_xywh(found.box).astype(float).tolist()
    columns = (found.frame.tolist(), box, found.class_index.tolist(), found.score.tolist())
    return [
        {"image_id": frame, "category_id": category, "bbox": xywh, "score": score}
        for frame, xywh, category, score in zip(*columns, strict=True)
    ]


def _chunks(classes: Ints) -> list[tuple[int, int]]:
    starts = range(0, len(classes), CHUNK)
    return [(int(classes[i]), int(classes[i : i + CHUNK][-1]) + 1) for i in starts]


def _precisions(labelled: Instances, found: Instances, frames: int) -> NDArray[np.float64]:
    """[10 IoUs, 101 recalls, labelled classes]; all 0 when nothing was found."""
    classes = np.unique(labelled.class_index)
    found = _known_to(classes, found)
    if not len(found.frame):
        return np.zeros((10, 101, len(classes)))
    truth = COCO(ground_truth(labelled, frames))
    evaluation = COCOeval_faster(truth, truth.loadRes(detections(found)), iouType="bbox")
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    evaluation.params.maxDets = [MAX_BOXES]
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"][:, :, :, 0, 0], dtype=np.float64)


def _known_to(classes: Ints, found: Instances) -> Instances:
    keep = np.isin(found.class_index, classes)
    kept = (found.frame[keep], found.box[keep], found.class_index[keep], found.score[keep])
    return Instances(*kept)
