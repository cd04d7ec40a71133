"""Photo in, classified pills out: detect, crop, classify, refuse what looks like no known pill.

evaluate measures this path; predict and the service use it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pillsnap import boxes, files
from pillsnap.arrays import Floats32, Ints, Pixels
from pillsnap.boxes import Boxes
from pillsnap.dataset import manifest, pixels
from pillsnap.dataset.manifest import UNKNOWN
from pillsnap.errors import DataError
from pillsnap.recognition import calibration, name_sets, scores
from pillsnap.recognition.calibration import Calibration
from pillsnap.recognition.models import Classifier, Detector
from pillsnap.recognition.scores import Outputs

if TYPE_CHECKING:
    import torch


NO_CLASS = "List codes of classes.csv, or no list."


@dataclass(frozen=True)
class Candidate:
    """A class a pill may belong to."""

    code: str
    drug_name: str
    probability: float  # calibrated, over the classes that were allowed


@dataclass(frozen=True)
class Named:
    """A drug of the register."""

    code: str  # K-code, "" if the register has none
    item_seq: str
    drug_name: str


@dataclass(frozen=True)
class PillImprint:
    """What a pill reads, beside the imprint that the register records of its first candidate."""

    text: str  # letters and digits; "" if nothing was read
    confidence: float
    verdict: str  # agrees, contradicts or unsure
    candidates: tuple[Named, ...]  # drugs it fits, of a refused or contradicted pill


@dataclass(frozen=True)
class Pill:
    """A pill found in a frame; code is None when it is refused as unknown."""

    box: tuple[int, int, int, int]  # x, y, width, height in pixels of the frame
    known: bool
    code: str | None
    drug_name: str | None
    edi_codes: tuple[str, ...]
    confidence: float  # calibrated probability of the first candidate
    box_confidence: float
    candidates: tuple[Candidate, ...]  # best first, also of a refused pill
    names: tuple[str, ...]  # K-codes that hold the right one with the promised risk; () if refused
    known_score: float  # high for pills that look like a class; refused below the threshold
    name_score: float  # high where the first candidate is right: its logit
    imprint: PillImprint | None = None  # None without a reader

    def scaled(self, x: float, y: float) -> "Pill":
        """The pill in a picture so many times wider and higher, in whole pixels."""
        left, top, width, height = self.box
        right, bottom = round((left + width) * x), round((top + height) * y)
        left, top = round(left * x), round(top * y)
        return replace(self, box=(left, top, right - left, bottom - top))


@dataclass(frozen=True)
class FrameOutputs(Outputs):
    """Outputs of both models for the pills of a frame, before any is accepted or refused."""

    box: Ints  # [n, 4] x, y, width, height in pixels, inside the frame
    box_confidence: Floats32  # [n], best first


@dataclass(frozen=True)
class Decision:
    """Class index, -1 where refused, with confidence and refusal score; all [n]."""

    class_index: Ints
    confidence: NDArray[np.float64]
    refusal_score: NDArray[np.float64]


class Recogniser:
    """The detector, the classifier and their calibration as one."""

    def __init__(
        self,
        detector: Detector,
        classifier: Classifier,
        fitted: Calibration,
        classes: pd.DataFrame,
        batch_size: int,
    ) -> None:
        self.detector, self.classifier, self.calibration = detector, classifier, fitted
        self.classes, self.batch_size = classes, batch_size
        columns = ["mapping_code", "drug_name", "edi_codes"]
        self._rows: list[tuple[str, str, str]]  # of the class table
        self._rows = list(classes[columns].astype(str).itertuples(index=False, name=None))
        self._index_of = {code: index for index, (code, *_) in enumerate(self._rows)}

    @classmethod
    def load(
        cls,
        detection_path: Path,
        classification_path: Path,
        calibration_path: Path,
        classes_path: Path,
        device: "torch.device",
        batch_size: int,
    ) -> "Recogniser":
        """Load checkpoints; CheckpointError when one is missing, damaged or of another table."""
        from pillsnap.classification import classifier
        from pillsnap.detection import detector

        table_hash = manifest.class_table_hash(classes_path)
        model = classifier.load(classification_path, device, table_hash)
        fitted = calibration.load(calibration_path, files.sha256_of(classification_path))
        classes = manifest.read_classes(classes_path)
        return cls(detector.load(detection_path, device), model, fitted, classes, batch_size)

    def recognise(
        self, frames: Sequence[Pixels], top: int, codes: Sequence[str] | None = None
    ) -> list[list[Pill]]:
        """The pills of each RGB frame, best box first, each with its `top` likeliest classes.

        With `codes` only those classes are considered (a prescription's list); DataError on a
        code that is no class.
        """
        allowed = self._allowed(codes)
        return [self._pills(reading, top, allowed) for reading in self.read(frames)]

    def read(self, frames: Sequence[Pixels]) -> list[FrameOutputs]:
        """Detect, crop and classify, without accepting or refusing."""
        found = self.detect(frames)
        pictures = [self.cut(frame, box) for frame, (box, _) in zip(frames, found, strict=True)]
        logits, embeddings = self.classify(np.concatenate(pictures))
        ends = np.cumsum([len(part) for part in pictures])[:-1]
        parts = zip(np.split(logits, ends), np.split(embeddings, ends), found, strict=True)
        return [FrameOutputs(logit, embedding, *found_box) for logit, embedding, found_box in parts]

    def detect(self, frames: Sequence[Pixels]) -> list[tuple[Ints, Floats32]]:
        """Whole-pixel boxes [n, 4] x, y, width, height and confidences [n] at the calibrated
        operating point."""
        fitted = self.calibration
        found = self.detector.detect(frames, fitted.detection_confidence, fitted.detection_iou)
        return [
            (whole_pixels(box, frame.shape[1], frame.shape[0]), score)
            for frame, (box, score) in zip(frames, found, strict=True)
        ]

    def cut(self, frame: Pixels, box_xywh: Ints) -> Pixels:
        """Crops [n, crop_px, crop_px, 3] of a frame, as the classifier was trained on."""
        crop_px = int(self.classifier.config["crop_px"])
        margin = float(self.classifier.config["crop_margin"])
        cut = [pixels.cut(frame, box, crop_px, margin) for box in box_xywh]
        return np.stack(cut) if cut else np.empty((0, crop_px, crop_px, 3), np.uint8)

    def classify(self, pictures: Pixels) -> tuple[Floats32, Floats32]:
        """Logits [n, classes] and embeddings [n, d] of crops, a batch at a time."""
        if not len(pictures):
            classes, _, size = self.calibration.centres.means.shape
            return np.empty((0, classes), np.float32), np.empty((0, size), np.float32)
        starts = range(0, len(pictures), self.batch_size)
        parts = [self.classifier.classify(pictures[i : i + self.batch_size]) for i in starts]
        return np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts])

    def decide(self, reading: FrameOutputs) -> Decision:
        """The likeliest of all classes for each pill, or a refusal."""
        fitted = self.calibration
        score = fitted.refusal_score(reading)
        best = reading.logits.argmax(axis=1)
        confidence = scores.confidences(reading.logits, fitted.temperature)
        index = np.where(score >= fitted.threshold, best, UNKNOWN).astype(np.int64)
        return Decision(index, confidence, score)

    def not_classes(self, codes: Collection[str]) -> str:
        """The codes that are no class, at most ten of them, for a message; "" if all are."""
        unknown = sorted({*codes}.difference(self._index_of))
        return ", ".join(code[:40] for code in unknown[:10])

    def _allowed(self, codes: Sequence[str] | None) -> Ints:
        if codes is None:
            return np.arange(len(self.classes))
        unknown = self.not_classes(codes)
        if unknown or not codes:
            what = f"holds codes that are no class: {unknown}" if codes else "is empty"
            raise DataError(f"The list of codes {what}.", NO_CLASS)
        return np.array(sorted({self._index_of[code] for code in codes}), dtype=np.int64)

    def _pills(self, outputs: FrameOutputs, top: int, allowed: Ints) -> list[Pill]:
        fitted = self.calibration
        scored = fitted.refusal_score(outputs, allowed).tolist()
        chances = scores.probabilities(outputs.logits[:, allowed], fitted.temperature)
        inside = name_sets.members(chances, fitted.set_probability)
        pills = []
        for row, columns in enumerate(np.argsort(-chances, axis=1, kind="stable")):
            ranked = [self._rows[index] for index in allowed[columns]]  # the likeliest first
            likeliest = zip(ranked[:top], chances[row, columns].tolist(), strict=False)
            best = [Candidate(code, name, chance) for (code, name, _), chance in likeliest]
            pairs = zip(ranked, inside[row, columns], strict=True)
            names = [code for (code, *_), is_inside in pairs if is_inside]
            code, drug_name, edi_codes = ranked[0]
            known = scored[row] >= fitted.threshold
            x, y, width, height = outputs.box[row].tolist()
            pill = Pill(
                box=(x, y, width, height),
                known=known,
                code=code if known else None,
                drug_name=drug_name if known else None,
                edi_codes=tuple(filter(None, edi_codes.split("|"))) if known else (),
                confidence=best[0].probability,
                box_confidence=float(outputs.box_confidence[row]),
                candidates=tuple(best),
                names=tuple(names) if known else (),
                known_score=scored[row],
                name_score=float(outputs.logits[row, allowed[columns[0]]]),
            )
            pills.append(pill)
        return pills


def whole_pixels(found: Boxes, width: int, height: int) -> Ints:
    """x1 y1 x2 y2 -> x, y, width, height in whole pixels inside the frame, at least 1 px."""
    inside = np.rint(boxes.clip(found, width, height)).astype(np.int64)
    corner = np.minimum(inside[:, :2], [width - 1, height - 1])
    size = np.maximum(inside[:, 2:] - corner, 1)
    return np.concatenate([corner, size], axis=1)
