"""From answers to the sections of metrics.json. Pure: no disk, no device.

Every figure that could not be computed is None with `<figure>_reason` beside it. Intervals stand
under `ci` as [low, high]: 95 %, capture groups drawn with replacement.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pillsnap.arrays import Array, Bools
from pillsnap.evaluation import answers, bootstrap, coco, fit, matching, metrics
from pillsnap.evaluation.answers import CropAnswers, FrameAnswer
from pillsnap.evaluation.bootstrap import Resamples
from pillsnap.evaluation.matching import FrameMatch
from pillsnap.params import EvaluateParams
from pillsnap.recognition import scores
from pillsnap.recognition.calibration import Calibration

Json = dict[str, Any]

IMAGE_TYPES = ("single", "combination")


def classification(val: CropAnswers, fitted: Calibration, rounds: int, seed: int) -> Json:
    """How the classifier names the pills in the labels' boxes; `val` holds known pills only."""
    truth, named = val.truth, val.logits.argmax(axis=1)
    rank = metrics.ranks(val.logits, truth)
    draws = bootstrap.resample(list(val.groups), rounds, seed)
    sure = fit.cross_fitted(val.logits, truth, val.groups, seed)
    halves = bool(len(val)) and bool(np.isfinite(sure).all())
    raw = scores.confidences(val.logits, 1.0)
    figures = {
        "top1": metrics.mean(rank == 0),
        "top5": metrics.mean(rank < 5),
        "macro_f1": metrics.macro_f1(named, truth),
        "ece": metrics.ece(sure, named == truth) if halves else None,
        "ece_uncalibrated": metrics.ece(raw, named == truth),
    }
    ones = np.ones(len(val))
    intervals = {
        "top1": bootstrap.ratio(draws, rank == 0, ones),
        "top5": bootstrap.ratio(draws, rank < 5, ones),
        "macro_f1": bootstrap.macro_f1(draws, named, truth, val.logits.shape[1]),
        "ece": bootstrap.ece(draws, sure, named == truth) if halves else None,
    }
    why = "val holds no known pill" if not len(val) else "val holds a single capture group"
    return {
        **explained(figures, why),
        "temperature": fitted.temperature,
        "pills": len(val),
        **{kind: top1_of(val.of_type(kind), rounds, seed, kind) for kind in IMAGE_TYPES},
        "ci": intervals,
    }


def top1_of(pills: CropAnswers, rounds: int, seed: int, kind: str) -> Json:
    """Top-1 of a part of the pills."""
    right = metrics.ranks(pills.logits, pills.truth) == 0
    draws = bootstrap.resample(list(pills.groups), rounds, seed)
    figures = explained({"top1": metrics.mean(right)}, f"no known pill in {kind} frames")
    interval = bootstrap.ratio(draws, right, np.ones(len(pills)))
    return {**figures, "pills": len(pills), "ci": {"top1": interval}}


def detection(frames: Sequence[FrameAnswer], params: EvaluateParams, seed: int) -> Json:
    """How the detector finds pills, whatever their names; on all frames and on each kind."""
    kinds = {kind: [f for f in frames if f.image_type == kind] for kind in IMAGE_TYPES}
    return {
        **_detection(frames, params, seed),
        **{kind: _detection(part, params, seed) for kind, part in kinds.items()},
    }


def _detection(frames: Sequence[FrameAnswer], params: EvaluateParams, seed: int) -> Json:
    labelled, found = answers.labelled_boxes(frames), answers.found_boxes(frames)
    precisions = coco.measure(labelled, found, len(frames))
    matched = matched_boxes(frames, params.match_iou)
    shown = found.score >= params.detection_confidence
    counts = np.array([len(frame.labelled) for frame in frames], dtype=np.float64)
    hits, shots = (_per_frame(found.frame, mask, len(frames)) for mask in (matched & shown, shown))
    draws = resampled(frames, params.bootstrap_rounds, seed)
    ap = (draws, found.score, matched, found.frame, counts)
    return {
        **explained(
            {
                "map50": precisions.map50,
                "map50_95": precisions.map50_95,
                "recall": metrics.ratio(hits.sum(), counts.sum()),
            },
            "no labelled box in these frames",
        ),
        **explained({"precision": metrics.ratio(hits.sum(), shots.sum())}, "no box was found"),
        "frames": len(frames),
        "boxes": int(counts.sum()),
        "ci": {
            "map50": bootstrap.average_precision(*ap) if counts.sum() else None,
            "precision": bootstrap.ratio(draws, hits, shots),
            "recall": bootstrap.ratio(draws, hits, counts),
        },
    }


def pr_curve(frames: Sequence[FrameAnswer]) -> list[dict[str, float]]:
    """Rows recall, precision of the detector at IoU 0.5, as COCO interpolates them."""
    labelled, found = answers.labelled_boxes(frames), answers.found_boxes(frames)
    curve = coco.measure(labelled, found, len(frames)).curve
    points = zip(metrics.RECALL_POINTS.tolist(), curve.tolist(), strict=False)
    return [{"recall": round(recall, 2), "precision": precision} for recall, precision in points]


def matched_boxes(frames: Sequence[FrameAnswer], match_iou: float) -> Bools:
    """Of all found boxes in a row, which take a labelled box, greedily by score as COCO pairs."""
    parts = [matching.greedy(frame.found, frame.labelled, match_iou) for frame in frames]
    return np.concatenate([*parts, np.empty(0, np.bool_)])


def pipeline(frames: Sequence[FrameAnswer], params: EvaluateParams, seed: int) -> Json:
    """What a user gets: boxes found, cut and named; on all frames and on each kind."""
    kinds = {kind: [f for f in frames if f.image_type == kind] for kind in IMAGE_TYPES}
    return {
        **pipeline_of(frames, params, seed),
        **{kind: pipeline_of(part, params, seed) for kind, part in kinds.items()},
    }


def pipeline_of(frames: Sequence[FrameAnswer], params: EvaluateParams, seed: int) -> Json:
    """The pipeline's figures on some frames; outcomes as `matching` defines them."""
    matches = [frame.match(params.match_iou) for frame in frames]
    right = np.array([m.right for m in matches], dtype=np.float64)
    predicted = np.array([len(m.predicted) for m in matches], dtype=np.float64)
    labelled = np.array([len(m.labelled) for m in matches], dtype=np.float64)
    exact = np.array([m.exact for m in matches], dtype=np.float64)
    right_names, names = _names(frames, matches)
    precisions = coco.measure(
        answers.labelled_pills(frames), answers.named_pills(frames), len(frames)
    )
    draws = resampled(frames, params.bootstrap_rounds, seed)
    return {
        **explained(
            {"pill_precision": metrics.ratio(right.sum(), predicted.sum())}, "no pill found"
        ),
        **explained(
            {"name_precision": metrics.ratio(right_names.sum(), names.sum())}, "no name given"
        ),
        **explained(
            {
                "pill_recall": metrics.ratio(right.sum(), labelled.sum()),
                "pill_f1": metrics.f1(right.sum(), predicted.sum(), labelled.sum()),
                "frame_exact": metrics.mean(exact),
                "map50": precisions.map50,
            },
            "no such frame" if not len(frames) else "no labelled pill of a known code",
        ),
        **speed([frame.seconds for frame in frames]),
        "frames": len(frames),
        "pills": int(labelled.sum()),
        "errors": {kind: sum(m.errors()[kind] for m in matches) for kind in matching.ERRORS},
        "ci": {
            "pill_precision": bootstrap.ratio(draws, right, predicted),
            "name_precision": bootstrap.ratio(draws, right_names, names),
            "pill_recall": bootstrap.ratio(draws, right, labelled),
            "pill_f1": bootstrap.ratio(draws, 2 * right, predicted + labelled),
            "frame_exact": bootstrap.ratio(draws, exact, np.ones(len(frames))),
        },
    }


def speed(seconds: Sequence[float]) -> Json:
    """Milliseconds per frame at batch 1: median and 95th percentile."""
    if not len(seconds):
        return explained({"ms_per_frame_p50": None, "ms_per_frame_p95": None}, "no such frame")
    p50, p95 = np.percentile(np.asarray(seconds) * 1000, [50, 95])
    return {"ms_per_frame_p50": float(p50), "ms_per_frame_p95": float(p95)}


def unknown(
    known: CropAnswers,
    strangers: CropAnswers,
    left_out: CropAnswers,
    fitted: Calibration,
    rounds: int,
    seed: int,
) -> Json:
    """Whether pills never learnt are told from val's known ones, by the score chosen on val.

    `strangers` are AI Hub's unknown pills, `left_out` those of codes left out on purpose.
    """
    accepted = fitted.refusal_score(known.outputs) >= fitted.threshold
    test = _refused(known, strangers, fitted, rounds, seed, "no unknown pill in test")
    why = "build_manifest.left_out_classes is 0, or test_unknown_pills is"
    return {
        **test,
        **explained({"known_accepted": metrics.mean(accepted)}, "no known pill in val"),
        "threshold": fitted.threshold,
        "known_pills": len(known),
        "chosen_on": fitted.chosen_on,
        "compared": [
            {
                "score": score,
                "kept": score == fitted.score,
                **{f"auroc_{name}": values[score] for name, values in fitted.compared.items()},
            }
            for score in scores.SCORES
        ],
        "left_out": _refused(known, left_out, fitted, rounds, seed, why),
    }


def _refused(
    known: CropAnswers,
    strangers: CropAnswers,
    fitted: Calibration,
    rounds: int,
    seed: int,
    why_none: str,
) -> Json:
    accepted = fitted.refusal_score(known.outputs)
    refused = fitted.refusal_score(strangers.outputs)
    known_draws = bootstrap.resample(list(known.groups), rounds, seed)
    stranger_draws = bootstrap.resample(list(strangers.groups), rounds, seed + 1)
    passed = refused >= fitted.threshold
    figures = {
        "auroc": metrics.auroc(accepted, refused),
        "fpr_at_95_recall": metrics.fpr_at(accepted, refused, 0.95),
        "unknown_accepted": metrics.mean(passed),
    }
    return {
        **explained(figures, why_none if len(known) else "no known pill in val"),
        "pills": len(strangers),
        "codes": int(strangers.table["mapping_code"].nunique()),
        "ci": {
            "auroc": bootstrap.auroc(accepted, refused, known_draws, stranger_draws),
            "unknown_accepted": bootstrap.ratio(stranger_draws, passed, np.ones(len(strangers))),
        },
    }


def explained(figures: Json, why: str) -> Json:
    """The figures, each None with its reason beside it."""
    reasons = {f"{name}_reason": why for name, value in figures.items() if value is None}
    return {**figures, **reasons}


def resampled(frames: Sequence[FrameAnswer], rounds: int, seed: int) -> Resamples:
    """Capture groups of frames."""
    return bootstrap.resample([frame.group_id for frame in frames], rounds, seed)


def _names(frames: Sequence[FrameAnswer], matches: list[FrameMatch]) -> tuple[Array, Array]:
    """Names given right, names given; a frame each. When it says X, is it X?"""
    given = [frame.named_class >= 0 for frame in frames]
    right = [np.array(m.predicted, dtype=object) == matching.RIGHT for m in matches]
    hits = [float((a & b).sum()) for a, b in zip(right, given, strict=True)]
    return np.array(hits), np.array([float(names.sum()) for names in given])


def _per_frame(frame: Array, mask: Array, frames: int) -> NDArray[np.float64]:
    counts = np.bincount(frame, mask.astype(np.float64), minlength=frames)
    return counts.astype(np.float64)
