"""Outputs of the models as plain arrays: all that the metrics are computed from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pillsnap.arrays import Bools, Floats, Ints
from pillsnap.boxes import Boxes
from pillsnap.dataset.manifest import UNKNOWN
from pillsnap.evaluation import matching
from pillsnap.evaluation.matching import Evaluator, FrameMatch, Instances
from pillsnap.recognition.scores import Outputs


@dataclass(frozen=True)
class CropAnswers(Outputs):
    """The classifier on the labels' boxes, and the rows of the crop store without JPEG bytes."""

    table: pd.DataFrame

    def where(self, keep: Bools) -> "CropAnswers":
        """The rows to keep."""
        table = self.table[keep].reset_index(drop=True)
        return CropAnswers(self.logits[keep], self.embeddings[keep], table)

    def known(self, known: bool = True) -> "CropAnswers":
        """The pills whose code is a class, or the others."""
        return self.where(self.table["known"].to_numpy(dtype=bool) == known)

    def of_type(self, image_type: str) -> "CropAnswers":
        """The pills of single or of combination frames."""
        return self.where((self.table["image_type"] == image_type).to_numpy(dtype=bool))

    @property
    def truth(self) -> Ints:
        """Class indices, [n]."""
        return self.table["class_index"].to_numpy(dtype=np.int64)

    @property
    def groups(self) -> NDArray[Any]:
        """Capture groups, [n]."""
        return self.table["group_id"].to_numpy(dtype=object)

    @property
    def codes(self) -> NDArray[Any]:
        """K-codes, [n]."""
        return self.table["mapping_code"].to_numpy(dtype=object)


@dataclass(frozen=True)
class FrameAnswer:
    """One frame through detector and recogniser. Boxes are x1 y1 x2 y2 in its pixels; a class is
    an index, -1 for a pill of an unknown code (labelled) or a refused one (predicted)."""

    image_path: str
    image_type: str
    group_id: str
    labelled: Boxes
    labelled_class: Ints
    found: Boxes  # at any confidence, best first: input of average precision
    found_score: Floats
    predicted: Boxes  # at the operating point: what a user gets
    predicted_class: Ints
    box_confidence: Floats
    confidence: Floats  # calibrated probability of the first candidate
    refusal_score: Floats
    top_class: Ints  # [n, k] candidates, best first, also of refused pills
    top_probability: Floats  # [n, k]
    seconds: float  # decoded frame to classes, at batch 1
    match_iou: float  # from which a predicted box is on a labelled pill

    @cached_property
    def match(self) -> FrameMatch:
        """Predicted against labelled pills."""
        return self.match_as(self.predicted_class)

    def match_as(self, classes: Ints) -> FrameMatch:
        """The same, had the predicted pills been given these classes."""
        labelled = (self.labelled, self.labelled_class)
        return matching.match(self.predicted, classes, *labelled, self.match_iou)

    def decided(self, threshold: float) -> "FrameAnswer":
        """The same with another threshold of refusal."""
        accepted = self.refusal_score >= threshold
        return replace(self, predicted_class=np.where(accepted, self.top_class[:, 0], UNKNOWN))


@dataclass(frozen=True)
class FrameSet:
    """Frames of a split; what several of their metrics are made from is computed once."""

    frames: Sequence[FrameAnswer]

    def __len__(self) -> int:
        return len(self.frames)

    def decided(self, threshold: float) -> "FrameSet":
        """The same with another threshold of refusal."""
        return FrameSet([frame.decided(threshold) for frame in self.frames])

    def known_scores(self) -> tuple[Floats, NDArray[np.str_]]:
        """Refusal score and kind of frame of the found pills that are labelled as known, [n]."""
        pairs = [
            (float(frame.refusal_score[predicted]), frame.image_type)
            for frame in self.frames
            for predicted, labelled in frame.match.pairs.items()
            if frame.labelled_class[labelled] != UNKNOWN
        ]
        return np.array([score for score, _ in pairs]), np.array([kind for _, kind in pairs], str)

    def rows(self, image_type: str | None = None) -> Ints:
        """Indices of all frames, or of the single or combination frames."""
        kinds = np.array([frame.image_type for frame in self.frames], dtype=object)
        return np.flatnonzero((kinds == image_type) | (image_type is None))

    @cached_property
    def groups(self) -> NDArray[Any]:
        """Capture groups, [frames]."""
        return np.array([frame.group_id for frame in self.frames], dtype=object)

    @cached_property
    def labelled(self) -> Instances:
        """All labelled boxes."""
        boxes = [frame.labelled for frame in self.frames]
        return _instances(boxes, [np.ones(len(box)) for box in boxes])

    @cached_property
    def found(self) -> Instances:
        """All found boxes."""
        scores = [frame.found_score for frame in self.frames]
        return _instances([frame.found for frame in self.frames], scores)

    @cached_property
    def boxes(self) -> Evaluator:
        """mAP of boxes, whatever their classes."""
        return Evaluator(self.labelled, self.found, len(self))

    def matched(self, match_iou: float) -> Bools:
        """Which of the found boxes match a label, greedily by score within a frame, as in COCO."""
        parts = [matching.greedy(f.found, f.labelled, match_iou) for f in self.frames]
        return np.concatenate([*parts, np.empty(0, np.bool_)])


@dataclass(frozen=True)
class Answers:
    """Outputs on the crops and frames of val and test."""

    val: CropAnswers
    test: CropAnswers
    val_frames: FrameSet
    test_frames: FrameSet

    def tested(self, new: bool) -> tuple[CropAnswers, FrameSet]:
        """Test's pills and frames under the lights and on the backgrounds of val, or the others."""
        rows = new_conditions(self.test, self.val)
        paths = set(self.test.table["image_path"][rows])
        frames = [one for one in self.test_frames.frames if (one.image_path in paths) == new]
        return self.test.where(rows == new), FrameSet(frames)


def new_conditions(test: CropAnswers, val: CropAnswers) -> Bools:
    """Which of test's pills have a light or a background that no pill of val has, [n]."""
    known = [test.table[name].isin(val.table[name]) for name in ("light", "back")]
    return np.asarray(~np.logical_and.reduce(known))


def _instances(boxes: Sequence[Boxes], scores: Sequence[Floats]) -> Instances:
    counts = [len(box) for box in boxes]
    return Instances(
        frame=np.repeat(np.arange(len(boxes)), counts).astype(np.int64),
        box=np.concatenate([*boxes, np.empty((0, 4), np.float32)]),
        score=np.concatenate([*scores, np.empty(0)]),
    )
