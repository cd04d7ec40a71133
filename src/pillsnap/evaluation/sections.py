"""Sections of evaluation.json: classification, detection, pipeline. Pure: no disk, no device.

A metric that could not be computed is None, with the reason under `<metric>_reason`. Intervals are
under `ci`.
"""

from collections.abc import Sequence

import numpy as np

from pillsnap.arrays import Array, Ints
from pillsnap.evaluation import fit, intervals, matching, metrics
from pillsnap.evaluation.answers import CropAnswers, FrameAnswer, FrameSet
from pillsnap.evaluation.matching import FrameMatch
from pillsnap.files import Json
from pillsnap.params import EvaluateParams
from pillsnap.recognition import scores
from pillsnap.recognition.calibration import Calibration

IMAGE_TYPES = ("single", "combination")


def classification(val: CropAnswers, fitted: Calibration, rounds: int, seed: int) -> Json:
    """The classifier on crops of the labels' boxes; `val` holds known pills only."""
    truth, predicted = val.truth, val.logits.argmax(axis=1)
    right, rank = predicted == truth, metrics.ranks(val.logits, truth)
    confidence = fit.cross_fitted(val.logits, truth, val.groups, seed)
    halves = bool(len(val)) and bool(np.isfinite(confidence).all())
    noise = metrics.ece_noise(confidence, rounds, seed) if halves else None
    ones = np.ones(len(val))
    values = {
        "top1": metrics.mean(rank == 0),
        "top5": metrics.mean(rank < 5),
        "macro_f1": metrics.macro_f1(predicted, truth),
        "ece": metrics.ece(confidence, right) if halves else None,
        "ece_noise": noise[0] if noise else None,
        "ece_noise_p95": noise[1] if noise else None,
        "ece_uncalibrated": metrics.ece(scores.confidences(val.logits, 1.0), right),
    }
    return {
        **explained(values, "val holds a single capture group" if len(val) else "no known pill"),
        "temperature": fitted.temperature,
        "pills": len(val),
        **{kind: top1_of(val.of_type(kind), kind) for kind in IMAGE_TYPES},
        "ci": {
            "top1": intervals.ratio(rank == 0, ones, val.groups),
            "top5": intervals.ratio(rank < 5, ones, val.groups),
            "macro_f1": intervals.macro_f1(predicted, truth, val.groups),
        },
    }


def top1_of(pills: CropAnswers, kind: str) -> Json:
    """Top-1 of some pills; `kind` says of which frames they are."""
    right = metrics.ranks(pills.logits, pills.truth) == 0
    return {
        **explained({"top1": metrics.mean(right)}, f"no known pill in {kind} frames"),
        "pills": len(pills),
        "ci": {"top1": intervals.ratio(right, np.ones(len(pills)), pills.groups)},
    }


def detection(frames: FrameSet, options: EvaluateParams, seed: int) -> Json:
    """The detector, whatever the classes: on all frames and on each kind."""
    matched = frames.matched(options.match_iou)
    return {
        **_detection(frames, frames.rows(), matched, options, seed),
        **{
            kind: _detection(frames, frames.rows(kind), matched, options, seed)
            for kind in IMAGE_TYPES
        },
    }


def _detection(
    frames: FrameSet, rows: Ints, matched: Array, options: EvaluateParams, seed: int
) -> Json:
    found = frames.found.where(np.isin(frames.found.frame, rows))
    frame = np.searchsorted(rows, found.frame)
    matched = matched[np.isin(frames.found.frame, rows)]
    labelled = np.array([len(frames.frames[row].labelled) for row in rows], dtype=np.float64)
    shown = found.score >= options.detection_confidence
    hits, predicted = (np.bincount(frame, m, len(rows)) for m in (matched & shown, shown))
    precisions = frames.boxes.measure(rows)
    groups = frames.groups[rows]
    values = {
        "map50": precisions.map50,
        "map50_95": precisions.map50_95,
        "recall": metrics.ratio(hits.sum(), labelled.sum()),
    }
    precision = {"precision": metrics.ratio(hits.sum(), predicted.sum())}
    drawn = (groups, options.bootstrap_rounds, seed)
    return {
        **explained(values, "no labelled box in these frames"),
        **explained(precision, "no box was found"),
        "frames": len(rows),
        "boxes": int(labelled.sum()),
        "ci": {
            "map50": intervals.average_precision(found.score, matched, frame, labelled, *drawn),
            "precision": intervals.ratio(hits, predicted, groups),
            "recall": intervals.ratio(hits, labelled, groups),
        },
    }


def pipeline(frames: FrameSet, options: EvaluateParams) -> Json:
    """Detector and classifier together, what a user gets: on all frames and on each kind."""
    return {
        **pipeline_of(frames, frames.rows(), options),
        **{kind: pipeline_of(frames, frames.rows(kind), options) for kind in IMAGE_TYPES},
    }


def pipeline_of(frames: FrameSet, rows: Ints, options: EvaluateParams) -> Json:
    """The pipeline on some of the frames; outcomes as `matching` defines them."""
    some, groups = [frames.frames[row] for row in rows], frames.groups[rows]
    matches = [frame.match(options.match_iou) for frame in some]
    right, predicted, labelled = _counts(matches)
    exact = np.array([match.exact for match in matches], dtype=np.float64)
    accepted, accepted_right = _accepted(some, matches)
    pills = (predicted + labelled) / 2  # F1 is right / pills
    unlabelled = "no labelled pill of a known code" if len(rows) else "no such frame"
    values = {
        "pill_recall": metrics.ratio(right.sum(), labelled.sum()),
        "pill_f1": metrics.ratio(right.sum(), pills.sum()),
        "frame_exact": metrics.mean(exact),
    }
    return {
        **explained(
            {"pill_precision": metrics.ratio(right.sum(), predicted.sum())}, "no pill found"
        ),
        **explained(
            {"accepted_precision": metrics.ratio(accepted_right.sum(), accepted.sum())},
            "no pill was accepted",
        ),
        **explained(values, unlabelled),
        **_unrefused_f1(some, options.match_iou),
        **speed([frame.seconds for frame in some]),
        "frames": len(rows),
        "pills": int(labelled.sum()),
        "errors": {kind: sum(m.errors()[kind] for m in matches) for kind in matching.ERRORS},
        "ci": {
            "pill_precision": intervals.ratio(right, predicted, groups),
            "accepted_precision": intervals.ratio(accepted_right, accepted, groups),
            "pill_recall": intervals.ratio(right, labelled, groups),
            "pill_f1": intervals.ratio(right, pills, groups),
            "frame_exact": intervals.ratio(exact, np.ones(len(rows)), groups),
        },
    }


def speed(seconds: Sequence[float]) -> Json:
    """Milliseconds per frame at batch 1: median and 95th percentile."""
    if not len(seconds):
        return explained({"ms_per_frame_p50": None, "ms_per_frame_p95": None}, "no such frame")
    p50, p95 = np.percentile(np.asarray(seconds) * 1000, [50, 95])
    return {"ms_per_frame_p50": float(p50), "ms_per_frame_p95": float(p95)}


def explained(values: Json, why: str) -> Json:
    """The values, and a reason for each that is None."""
    reasons = {f"{name}_reason": why for name, value in values.items() if value is None}
    return {**values, **reasons}


def _counts(matches: Sequence[FrameMatch]) -> tuple[Array, Array, Array]:
    """Right, predicted and labelled pills of each frame."""
    rows = [(match.right, len(match.predicted), len(match.labelled)) for match in matches]
    right, predicted, labelled = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return right, predicted, labelled


def _accepted(frames: Sequence[FrameAnswer], matches: Sequence[FrameMatch]) -> tuple[Array, Array]:
    """Pills of each frame that were not refused, and how many of them are right."""
    accepted = [frame.predicted_class >= 0 for frame in frames]
    right = [np.array(m.predicted, dtype=object) == matching.RIGHT for m in matches]
    both = [int((a & r).sum()) for a, r in zip(accepted, right, strict=True)]
    return np.array([int(a.sum()) for a in accepted], float), np.array(both, float)


def _unrefused_f1(frames: Sequence[FrameAnswer], match_iou: float) -> Json:
    """F1 had no pill been refused: what refusing costs or gains on these frames."""
    if any(len(frame.predicted) and not frame.top_class.shape[1] for frame in frames):
        return explained(
            {"pill_f1_unrefused": None}, "the candidates of refused pills are not kept"
        )
    counts = _counts([frame.match_unrefused(match_iou) for frame in frames])
    right, predicted, labelled = (count.sum() for count in counts)
    value = metrics.ratio(2 * right, predicted + labelled)
    return explained({"pill_f1_unrefused": value}, "no such frame")
