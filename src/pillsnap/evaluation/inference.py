"""Both models run on crops and frames from disk; their outputs as the arrays of `answers`."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pillsnap import boxes
from pillsnap.arrays import Ints, Pixels
from pillsnap.classification.classifier import TorchClassifier
from pillsnap.dataset.crops import CropStore
from pillsnap.dataset.frames import FrameStore, LabelledFrame
from pillsnap.detection.letterbox import Found
from pillsnap.evaluation import matching
from pillsnap.evaluation.answers import CropAnswers, FrameAnswer, FrameSet
from pillsnap.recognition import centres, scores
from pillsnap.recognition.centres import Centres
from pillsnap.recognition.recogniser import Recogniser
from pillsnap.recognition.scores import Outputs
from pillsnap.stage.log import RunLog

LOWEST_CONFIDENCE = 0.001  # average precision needs boxes of low confidence too; Ultralytics' limit
TOP = 5  # candidates kept of each pill


def class_centres(
    model: TorchClassifier, store: CropStore, batch_size: int, log: RunLog
) -> Centres:
    """Centres of each class over the front and the back of the store's known pills."""
    rows, truth = _known(store)
    side = store.table["direction"].to_numpy(dtype=np.int64)[rows] == 1
    counts = np.zeros((model.config["classes"], centres.SIDES))
    np.add.at(counts, (truth, side.astype(np.int64)), 1)
    sums, squares = np.zeros((*counts.shape, 1)), np.zeros((1, 1))  # without any pill
    for start, part in _batches(model, len(rows), lambda i: store.decode(rows[i]), batch_size, log):
        found, stop = part.embeddings.astype(np.float64), start + len(part)
        if not start:
            size = found.shape[1]
            sums, squares = np.zeros((*counts.shape, size)), np.zeros((size, size))
        np.add.at(sums, (truth[start:stop], side[start:stop].astype(np.int64)), found)
        squares += found.T @ found
    return centres.fitted(sums, counts, squares)


def classify_crops(
    model: TorchClassifier, store: CropStore, batch_size: int, log: RunLog
) -> CropAnswers:
    """The classifier on every crop of a store."""
    batches = _batches(model, len(store), store.decode, batch_size, log)
    found = _joined(batches, model.config["classes"])
    return CropAnswers(found.logits, found.embeddings, store.table)


def read_frames(
    recogniser: Recogniser, store: FrameStore, match_iou: float, log: RunLog
) -> FrameSet:
    """Every frame of a store through detector and recogniser, timed one by one."""
    answers: list[FrameAnswer] = []
    batch_size, iou = recogniser.batch_size, recogniser.calibration.detection_iou
    for start in range(0, len(store), batch_size):
        indices = range(start, min(start + batch_size, len(store)))
        frames = [store.decode(index) for index in indices]
        if not start:
            recogniser.read(frames[:1])  # warm-up: the first call is slow and is not timed
        found = recogniser.detector.detect(frames, LOWEST_CONFIDENCE, iou)
        for index, frame, boxes_found in zip(indices, frames, found, strict=True):
            label = store.labels[index]
            answers.append(_read(recogniser, frame, label, boxes_found, match_iou))
            log.progress(index + 1, len(store))
    return FrameSet(answers)


def speed(recogniser: Recogniser, store: FrameStore) -> dict[str, Any]:
    """On a store's first batch: median milliseconds of each step at batch 1; frames a second at
    batch 1 and as one batch."""
    frames = [store.decode(index) for index in range(min(recogniser.batch_size, len(store)))]
    if not frames:
        return {"frames": 0}
    recogniser.read(frames[:1])
    steps = np.array([_steps(recogniser, frame) for frame in frames]) * 1000
    begun_s = time.perf_counter()
    recogniser.read(frames)
    batched_s = time.perf_counter() - begun_s
    names = ("detect_ms_p50", "crop_ms_p50", "classify_ms_p50")
    return {
        **dict(zip(names, np.median(steps, axis=0).tolist(), strict=True)),
        "frames_per_s": float(1000 / np.median(steps.sum(axis=1))),
        "batched_frames_per_s": float(len(frames) / batched_s),
        "frames": len(frames),
    }


def _steps(recogniser: Recogniser, frame: Pixels) -> NDArray[np.float64]:
    """Seconds of detection, cropping and classification."""
    marks = [time.perf_counter()]
    box, _ = recogniser.detect([frame])[0]
    marks.append(time.perf_counter())
    pictures = recogniser.cut(frame, box)
    marks.append(time.perf_counter())
    recogniser.classify(pictures)
    marks.append(time.perf_counter())
    return np.diff(marks)


def _read(
    recogniser: Recogniser, frame: Pixels, label: LabelledFrame, found: Found, match_iou: float
) -> FrameAnswer:
    begun_s = time.perf_counter()
    reading = recogniser.read([frame])[0]
    decision = recogniser.decide(reading)
    seconds = time.perf_counter() - begun_s
    top = np.argsort(-reading.logits, axis=1, kind="stable")[:, :TOP].astype(np.int64)
    chances = scores.probabilities(reading.logits, recogniser.calibration.temperature)
    return FrameAnswer(
        image_path=label.image_path,
        image_type=label.image_type,
        group_id=label.group_id,
        labelled=label.box,
        labelled_class=label.class_index,
        found=found[0][: matching.MAX_BOXES],
        found_score=found[1][: matching.MAX_BOXES],
        predicted=boxes.from_xywh(reading.box),
        predicted_class=decision.class_index,
        box_confidence=reading.box_confidence,
        confidence=decision.confidence,
        refusal_score=decision.refusal_score,
        top_class=top,
        top_probability=np.take_along_axis(chances, top, axis=1),
        seconds=seconds,
        match_iou=match_iou,
    )


def _known(store: CropStore) -> tuple[list[int], Ints]:
    """Rows of the known pills and their classes."""
    rows = np.flatnonzero(store.table["known"].to_numpy(dtype=bool))
    return rows.tolist(), store.table["class_index"].to_numpy(dtype=np.int64)[rows]


def _batches(
    model: TorchClassifier,
    count: int,
    picture: Callable[[int], Pixels],
    batch_size: int,
    log: RunLog,
) -> Iterator[tuple[int, Outputs]]:
    """The classifier on pictures 0 .. `count` - 1: where each batch starts, and its outputs."""
    for start in range(0, count, batch_size):
        batch = [picture(index) for index in range(start, min(start + batch_size, count))]
        yield start, Outputs(*model.classify(np.stack(batch)))
        log.progress(start + len(batch), count)


def _joined(batches: Iterator[tuple[int, Outputs]], classes: int) -> Outputs:
    parts = [part for _, part in batches]
    logits = [part.logits for part in parts] or [np.empty((0, classes), np.float32)]
    embeddings = [part.embeddings for part in parts] or [np.empty((0, 1), np.float32)]
    return Outputs(np.concatenate(logits), np.concatenate(embeddings))
