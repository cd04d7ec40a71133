"""The models' answers on crops and frames from disk, as the plain arrays of `answers`."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pillsnap import boxes
from pillsnap.arrays import Floats32, Ints, Pixels
from pillsnap.classification.classifier import Classifier
from pillsnap.dataset.crops import CropStore
from pillsnap.dataset.frames import FrameStore, LabelledFrame
from pillsnap.evaluation import coco
from pillsnap.evaluation.answers import CropAnswers, FrameAnswer
from pillsnap.recognition import calibration
from pillsnap.recognition.recogniser import Recogniser
from pillsnap.recognition.scores import Outputs
from pillsnap.stage.log import RunLog

LOWEST_CONFIDENCE = 0.001  # average precision needs the unsure boxes too; Ultralytics' own limit
TOP = 5  # candidates kept of each pill


def class_means(
    namer: Classifier, store: CropStore, classes: int, batch_size: int, log: RunLog
) -> Floats32:
    """Mean embedding of each class over the store's known pills, L2-normalised, [classes, d]."""
    table = store.table
    rows = np.flatnonzero(table["known"].to_numpy(dtype=bool))
    index = table["class_index"].to_numpy(dtype=np.int64)[rows]
    sums: NDArray[np.float64] | None = None
    for start, (_, embeddings) in _batches(namer, store, rows, batch_size, log):
        if sums is None:
            sums = np.zeros((classes, embeddings.shape[1]))
        np.add.at(sums, index[start : start + len(embeddings)], embeddings)
    return calibration.normalised(np.zeros((classes, 1)) if sums is None else sums)


def name_crops(
    namer: Classifier, store: CropStore, classes: int, batch_size: int, log: RunLog
) -> CropAnswers:
    """The classifier's answers on every crop of a store."""
    rows = np.arange(len(store))
    parts = [answer for _, answer in _batches(namer, store, rows, batch_size, log)]
    logits = [logits for logits, _ in parts] or [np.empty((0, classes), np.float32)]
    embeddings = [embedding for _, embedding in parts] or [np.empty((0, 1), np.float32)]
    return CropAnswers(store.table, np.concatenate(logits), np.concatenate(embeddings))


def name_glued(
    namer: Classifier, store: CropStore, seed: int, classes: int, batch_size: int, log: RunLog
) -> Outputs:
    """The classifier's answers on the store's known pills, each with the right half of a pill of
    another class: pills that do not exist, made without looking at any that was kept for test."""
    table = store.table
    rows = np.flatnonzero(table["known"].to_numpy(dtype=bool))
    truth = table["class_index"].to_numpy(dtype=np.int64)
    partner = np.random.default_rng(seed).permutation(rows)
    differ = truth[rows] != truth[partner]
    pairs = list(zip(rows[differ].tolist(), partner[differ].tolist(), strict=True))
    logits = [np.empty((0, classes), np.float32)]
    embeddings: list[Floats32] = []
    for start in range(0, len(pairs), batch_size):
        part = pairs[start : start + batch_size]
        pictures = [glued(store.decode(left), store.decode(right)) for left, right in part]
        answer = namer.classify(np.stack(pictures))
        logits.append(answer[0])
        embeddings.append(answer[1])
        log.progress(start + len(part), len(pairs))
    joined = np.concatenate(embeddings) if embeddings else np.empty((0, 1), np.float32)
    return Outputs(np.concatenate(logits), joined)


def glued(left: Pixels, right: Pixels) -> Pixels:
    """The left half of one crop beside the right half of another."""
    half = left.shape[1] // 2
    return np.concatenate([left[:, :half], right[:, half:]], axis=1)


def read_frames(
    recogniser: Recogniser, store: FrameStore, batch_size: int, log: RunLog
) -> list[FrameAnswer]:
    """Every frame through detector and recogniser, timed one by one."""
    answers: list[FrameAnswer] = []
    iou = recogniser.calibration.detection_iou
    for start in range(0, len(store), batch_size):
        indices = range(start, min(start + batch_size, len(store)))
        frames = [store.decode(index) for index in indices]
        if not start:
            recogniser.read(frames[:1])  # the first call pays for warming up; nobody waits twice
        found = recogniser.detector.detect(frames, LOWEST_CONFIDENCE, iou)
        for index, frame, (box, score) in zip(indices, frames, found, strict=True):
            kept = (box[: coco.MAX_BOXES], score[: coco.MAX_BOXES])
            answers.append(_read(recogniser, frame, store.labels[index], *kept))
            log.progress(index + 1, len(store))
    return answers


def speed(recogniser: Recogniser, frames: Sequence[Pixels]) -> dict[str, Any]:
    """Median milliseconds of each step at batch 1, and frames a second of all as one batch."""
    if not frames:
        return {"frames": 0}
    recogniser.read(frames[:1])
    steps = np.array([_steps(recogniser, frame) for frame in frames]) * 1000
    begun_s = time.perf_counter()
    recogniser.read(frames)
    batched_s = time.perf_counter() - begun_s
    detect_ms, crop_ms, name_ms = (float(value) for value in np.median(steps, axis=0))
    return {
        "detect_ms_p50": detect_ms,
        "crop_ms_p50": crop_ms,
        "name_ms_p50": name_ms,
        "frames_per_s": float(1000 / np.median(steps.sum(axis=1))),
        "batched_frames_per_s": float(len(frames) / batched_s),
        "frames": len(frames),
    }


def _steps(recogniser: Recogniser, frame: Pixels) -> tuple[float, float, float]:
    marks = [time.perf_counter()]
    box, _ = recogniser.detect([frame])[0]
    marks.append(time.perf_counter())
    pictures = recogniser.cut(frame, box)
    marks.append(time.perf_counter())
    recogniser.classify(pictures)
    marks.append(time.perf_counter())
    return marks[1] - marks[0], marks[2] - marks[1], marks[3] - marks[2]


def _read(
    recogniser: Recogniser,
    frame: Pixels,
    label: LabelledFrame,
    found: Floats32,
    found_score: Floats32,
) -> FrameAnswer:
    begun_s = time.perf_counter()
    reading = recogniser.read([frame])[0]
    decision = recogniser.decide(reading)
    seconds = time.perf_counter() - begun_s
    top = np.argsort(-reading.logits, axis=1, kind="stable")[:, :TOP].astype(np.int64)
    sure = recogniser.probabilities(reading)
    return FrameAnswer(
        image_path=label.image_path,
        image_type=label.image_type,
        group_id=label.group_id,
        labelled=label.box,
        labelled_class=label.class_index,
        found=found,
        found_score=found_score,
        named=boxes.from_xywh(reading.box),
        named_class=decision.class_index,
        named_score=reading.box_confidence * decision.confidence,
        box_confidence=reading.box_confidence,
        confidence=decision.confidence,
        refusal_score=decision.refusal_score,
        top_class=top,
        top_probability=np.take_along_axis(sure, top, axis=1),
        seconds=seconds,
    )


def _batches(
    namer: Classifier, store: CropStore, rows: Ints, batch_size: int, log: RunLog
) -> Iterator[tuple[int, tuple[Floats32, Floats32]]]:
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        pictures = np.stack([store.decode(int(row)) for row in part])
        yield start, namer.classify(pictures)
        log.progress(start + len(part), len(rows))
