"""Sections of evaluation.json: classification, detection, pipeline. Pure: no disk, no device.

A metric that could not be computed is None, with the reason under `<metric>_reason`. Intervals are
under `ci`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pillsnap.arrays import Array, Ints
from pillsnap.evaluation import fit, intervals, matching, metrics
from pillsnap.evaluation.answers import CropAnswers, FrameAnswer, FrameSet
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
    share = (right, np.ones(len(pills)), f"no known pill in {kind} frames")
    return {**_shares({"top1": share}, pills.groups), "pills": len(pills)}


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
    unlabelled, drawn = "no labelled box in these frames", (options.bootstrap_rounds, seed)
    shares = {
        "precision": (hits, predicted, "no box was found"),
        "recall": (hits, labelled, unlabelled),
    }
    groups = frames.groups[rows]
    boxes = (found.score, matched, frame, labelled, groups)
    section = {
        **explained(frames.boxes.measure(rows), unlabelled),
        **_shares(shares, groups),
        "frames": len(rows),
        "boxes": int(labelled.sum()),
    }
    section["ci"]["map50"] = intervals.average_precision(*boxes, *drawn)
    return section


def pipeline(frames: FrameSet) -> Json:
    """Detector and classifier together, what a user gets: on all frames and on each kind."""
    return {
        **pipeline_of(frames, frames.rows()),
        **{kind: pipeline_of(frames, frames.rows(kind)) for kind in IMAGE_TYPES},
    }


def pipeline_of(frames: FrameSet, rows: Ints) -> Json:
    """The pipeline on some of the frames; outcomes as `matching` defines them."""
    some = [frames.frames[row] for row in rows]
    matches = [frame.match for frame in some]
    rows_of = [(m.right, len(m.predicted), len(m.labelled), m.exact) for m in matches]
    right, predicted, labelled, exact = np.array(rows_of, dtype=np.float64).reshape(-1, 4).T
    kept = np.array([_accepted(frame) for frame in some], dtype=np.float64).reshape(-1, 2)
    accepted, accepted_right = kept.T
    unlabelled = "no labelled pill of a known code" if len(rows) else "no such frame"
    shares = {
        "pill_precision": (right, predicted, "no pill found"),
        "accepted_precision": (accepted_right, accepted, "no pill was accepted"),
        "pill_recall": (right, labelled, unlabelled),
        "pill_f1": (right, (predicted + labelled) / 2, unlabelled),
        "frame_exact": (exact, np.ones(len(rows)), unlabelled),
    }
    return {
        **_shares(shares, frames.groups[rows]),
        **_unrefused_f1(some),
        **speed([frame.seconds for frame in some]),
        "frames": len(rows),
        "pills": int(labelled.sum()),
        "errors": {kind: sum(m.errors()[kind] for m in matches) for kind in matching.ERRORS},
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


def _shares(shares: Mapping[str, tuple[Array, Array, str]], groups: NDArray[Any]) -> Json:
    """sum(part) / sum(whole) of each (part, whole, why there may be none), and its interval."""
    section: Json = {"ci": {}}
    for name, (part, whole, why) in shares.items():
        section |= explained({name: metrics.ratio(part.sum(), whole.sum())}, why)
        section["ci"][name] = intervals.ratio(part, whole, groups)
    return section


def _accepted(frame: FrameAnswer) -> tuple[int, int]:
    """Pills of a frame that were not refused, and how many of them are right."""
    pairs = zip(frame.match.predicted, frame.predicted_class, strict=True)
    outcomes = [outcome for outcome, index in pairs if index >= 0]
    return len(outcomes), outcomes.count(matching.RIGHT)


def _unrefused_f1(frames: Sequence[FrameAnswer]) -> Json:
    """F1 had no pill been refused: what refusing costs or gains on these frames."""
    some = [frame for frame in frames if len(frame.predicted)]
    if not all(frame.top_class.shape[1] for frame in some):
        why = "the candidates of refused pills are not kept"
        return explained({"pill_f1_unrefused": None}, why)
    right = sum(frame.match_as(frame.top_class[:, 0]).right for frame in some)
    pills = sum(len(frame.predicted) + len(frame.labelled) for frame in frames)
    return explained({"pill_f1_unrefused": metrics.ratio(2 * right, pills)}, "no such frame")
