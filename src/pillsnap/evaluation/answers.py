"""What the models answered, as plain arrays: all that the figures are computed from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pillsnap.arrays import Bools, Floats, Floats32, Ints
from pillsnap.boxes import Boxes
from pillsnap.evaluation import matching
from pillsnap.evaluation.coco import Instances
from pillsnap.evaluation.matching import FrameMatch
from pillsnap.recognition.scores import Outputs


@dataclass(frozen=True)
class CropAnswers:
    """The classifier on the labels' boxes; row i of the table belongs to row i of the arrays.

    `table` has the columns of a crop store without its JPEG bytes.
    """

    table: pd.DataFrame
    logits: Floats32  # [n, classes]
    embeddings: Floats32  # [n, d]

    @property
    def outputs(self) -> Outputs:
        """Logits and embeddings together."""
        return Outputs(self.logits, self.embeddings)

    def where(self, keep: Bools) -> "CropAnswers":
        """The rows to keep."""
        table = self.table[keep].reset_index(drop=True)
        return CropAnswers(table, self.logits[keep], self.embeddings[keep])

    def known(self, known: bool = True) -> "CropAnswers":
        """The pills whose code was learnt, or those whose code was not."""
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

    def __len__(self) -> int:
        return len(self.table)


@dataclass(frozen=True)
class FrameAnswer:
    """One frame through detector and recogniser. Boxes are x1 y1 x2 y2 in its pixels; a class is
    an index, -1 for a pill of a code never learnt (labelled) or refused (named)."""

    image_path: str
    image_type: str
    group_id: str
    labelled: Boxes
    labelled_class: Ints
    found: Boxes  # at any confidence, best first: what average precision is made of
    found_score: Floats
    named: Boxes  # at the operating point: what a user gets
    named_class: Ints
    named_score: Floats  # box confidence x probability of the name
    box_confidence: Floats
    confidence: Floats  # calibrated probability of the first candidate
    refusal_score: Floats
    top_class: Ints  # [n, k] candidates, best first, of refused pills too
    top_probability: Floats  # [n, k]
    seconds: float  # frame in, names out, at batch 1

    def match(self, match_iou: float) -> FrameMatch:
        """Named pills against labelled pills."""
        mine, theirs = (self.named, self.named_class), (self.labelled, self.labelled_class)
        return matching.match(*mine, *theirs, match_iou)


@dataclass(frozen=True)
class Answers:
    """All the models said: crops and frames of val and test."""

    val: CropAnswers
    test: CropAnswers
    val_frames: list[FrameAnswer]
    test_frames: list[FrameAnswer]


def labelled_boxes(frames: Sequence[FrameAnswer]) -> Instances:
    """All labelled boxes as one class."""
    return _instances([(frame.labelled, None, None) for frame in frames])


def found_boxes(frames: Sequence[FrameAnswer]) -> Instances:
    """All found boxes as one class."""
    return _instances([(frame.found, None, frame.found_score) for frame in frames])


def labelled_pills(frames: Sequence[FrameAnswer]) -> Instances:
    """Labelled boxes of known codes, with their class."""
    rows = [(frame, frame.labelled_class >= 0) for frame in frames]
    return _instances([(f.labelled[keep], f.labelled_class[keep], None) for f, keep in rows])


def named_pills(frames: Sequence[FrameAnswer]) -> Instances:
    """Pills that were given a name, with their class."""
    rows = [(frame, frame.named_class >= 0) for frame in frames]
    return _instances([(f.named[k], f.named_class[k], f.named_score[k]) for f, k in rows])


Part = tuple[Boxes, Ints | None, Floats | None]


def _instances(parts: Sequence[Part]) -> Instances:
    counts = [len(box) for box, _, _ in parts]
    classes = [np.zeros(len(b), np.int64) if c is None else c for b, c, _ in parts]
    scores = [np.ones(len(b)) if s is None else np.asarray(s, np.float64) for b, _, s in parts]
    return Instances(
        frame=np.repeat(np.arange(len(parts)), counts).astype(np.int64),
        box=np.concatenate([b for b, _, _ in parts] or [np.empty((0, 4), np.float32)]),
        class_index=np.concatenate([*classes, np.empty(0, np.int64)]),
        score=np.concatenate([*scores, np.empty(0)]),
    )
