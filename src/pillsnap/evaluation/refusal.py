"""The sections `unknown`, `operating_points`, `sets` and `new_conditions` of evaluation.json: pills
that are refused, the sets of names of those that are not, and both under another light.

Unknown pills are compared with known pills of single photos, by the score that was chosen on val.
The unit of their intervals is the code: the next unknown pill is of yet another one.
"""

import numpy as np
import pandas as pd

from pillsnap.arrays import Bools, Floats
from pillsnap.evaluation import fit, intervals, metrics, sections
from pillsnap.evaluation.answers import CropAnswers, FrameSet
from pillsnap.evaluation.sections import IMAGE_TYPES, explained
from pillsnap.files import Json
from pillsnap.params import EvaluateParams
from pillsnap.recognition import name_sets, scores
from pillsnap.recognition.calibration import Calibration

KIND = "single"


def unknown_pills(
    known: CropAnswers,
    unknown: CropAnswers,
    held_out: CropAnswers,
    fitted: Calibration,
    classes: pd.DataFrame,
) -> Json:
    """`known`: val's known pills; `unknown`: test's pills of AI Hub's unknown codes; `held_out`:
    test's pills of the codes that build_manifest.left_out_classes held out."""
    alike = known.of_type(KIND)
    rest = (fitted, classes)
    why = "build_manifest.left_out_classes is 0, or test_unknown_pills is"
    return {
        **_section(alike, unknown.of_type(KIND), *rest, "no unknown pill in test"),
        "threshold": fitted.threshold,
        "known": {kind: _accepted(known.of_type(kind), fitted, "val") for kind in IMAGE_TYPES},
        "chosen_on": fitted.chosen_on,
        "compared": [
            {
                "score": score,
                "kept": score == fitted.score,
                "auroc_val_unknown": fitted.compared[score],
            }
            for score in scores.SCORES
        ],
        "held_out": _section(alike, held_out.of_type(KIND), *rest, why),
    }


def operating_points(
    val: CropAnswers, known: CropAnswers, unknown: CropAnswers, fitted: Calibration
) -> list[Json]:
    """A row per known recall: the shares of test's `known` and `unknown` pills, and of val's known
    single ones, that the threshold accepts; or why there is no such threshold."""
    val, unknown = val.of_type(KIND), unknown.of_type(KIND)
    sides = {
        "known_accepted": (fitted.refusal_score(known), known.groups),
        "val_single_accepted": (fitted.refusal_score(val), val.groups),
        "unknown_accepted": (fitted.refusal_score(unknown), unknown.codes),
    }
    rows: list[Json] = []
    for point in fitted.operating_points:
        row: Json = {"known_recall": point.known_recall, "threshold": point.threshold, "ci": {}}
        for name, (score, units) in sides.items():
            accepted = score >= point.threshold
            row |= explained({name: metrics.mean(accepted)}, "no such pill")
            row["ci"][name] = intervals.ratio(accepted, np.ones(len(score)), units)
        rows.append(row)
    for recall in sorted({*fit.RECALLS} - {row["known_recall"] for row in rows}):
        why = "val has fewer known pills of a kind of photo than 1 / (1 - known_recall)"
        rows.append({"known_recall": recall, **explained({"threshold": None}, why)})
    return rows


def sets(val: CropAnswers, fitted: Calibration, risk: float, seed: int) -> Json:
    """Coverage and size of the sets of val's accepted known pills.

    The capture groups are halved: each half is measured with temperature and limit of the other.
    """
    kept = val.where(fitted.refusal_score(val) >= fitted.threshold)
    truth, half = kept.truth, fit.halves(kept.groups, seed)
    covered, size = np.zeros(len(kept)), np.zeros(len(kept))
    for own in () if half is None else (0, 1):
        here, other = half == own, half != own
        temperature = fit.fit_temperature(kept.logits[other], truth[other])
        least = name_sets.limit(fit.of_truth(kept.logits[other], truth[other], temperature), risk)
        inside = name_sets.members(scores.probabilities(kept.logits[here], temperature), least)
        covered[here] = inside[np.arange(len(inside)), truth[here]]
        size[here] = inside.sum(axis=1)

    def section(rows: Bools) -> Json:
        some = rows & (half is not None)
        means = {
            "coverage": metrics.mean(covered[some]),
            "names_per_pill": metrics.mean(size[some]),
        }
        ci = intervals.ratio(covered[some], np.ones(some.sum()), kept.groups[some])
        return {
            **explained(means, "no accepted known pills of two capture groups"),
            "pills": int(rows.sum()),
            "ci": {"coverage": ci},
        }

    types = kept.table["image_type"].to_numpy()
    return {
        **section(np.ones(len(kept), dtype=bool)),
        "risk": risk,
        "set_probability": fitted.set_probability,
        **{kind: section(types == kind) for kind in IMAGE_TYPES},
    }


def new_conditions(
    pills: CropAnswers, frames: FrameSet, fitted: Calibration, options: EvaluateParams, seed: int
) -> Json:
    """Test under lights or on backgrounds that val has not: what val's calibration is worth there.
    `sets` are those of the accepted known pills, with val's limit."""
    known = pills.known()
    kept = known.where(fitted.refusal_score(known) >= fitted.threshold)
    chances = scores.probabilities(kept.logits, fitted.temperature)
    inside = name_sets.members(chances, fitted.set_probability)
    covered, why = inside[np.arange(len(kept)), kept.truth], "no accepted known pill"
    sets = {"coverage": metrics.mean(covered), "names_per_pill": metrics.mean(inside.sum(axis=1))}
    return {
        **sections.top1_of(known, "such"),
        "known": _accepted(known, fitted, "test"),
        "unknown": _accepted(pills.known(False), fitted, "test"),
        "sets": {
            **explained(sets, why),
            "ci": {"coverage": intervals.ratio(covered, np.ones(len(kept)), kept.groups)},
        },
        "detection": sections.detection(frames, options, seed),
        "pipeline": sections.pipeline_of(frames, frames.rows()),
    }


def _accepted(pills: CropAnswers, fitted: Calibration, split: str) -> Json:
    """The share of pills that the threshold accepts."""
    share = metrics.mean(fitted.refusal_score(pills) >= fitted.threshold)
    return {"pills": len(pills), **explained({"accepted": share}, f"no such pill in {split}")}


def _section(
    known: CropAnswers,
    unknown: CropAnswers,
    fitted: Calibration,
    classes: pd.DataFrame,
    why_none: str,
) -> Json:
    known_score, score = (fitted.refusal_score(pills) for pills in (known, unknown))
    accepted = score >= fitted.threshold
    values = {
        "auroc": metrics.auroc(known_score, score),
        "fpr_at_95_recall": metrics.fpr_at(known_score, score, 0.95),
        "accepted": metrics.mean(accepted),
    }
    return {
        **explained(values, why_none if len(known) else f"no known pill in val's {KIND} frames"),
        "pills": len(unknown),
        "codes": unknown.table["mapping_code"].nunique(),
        "by_code": _by_code(known_score, unknown, score, fitted.threshold, classes),
        "ci": {
            "auroc": intervals.auroc(known_score, score, known.groups, unknown.codes),
            "accepted": intervals.ratio(accepted, np.ones(len(unknown)), unknown.codes),
        },
    }


def _by_code(
    known_score: Floats,
    unknown: CropAnswers,
    score: Floats,
    threshold: float,
    classes: pd.DataFrame,
) -> list[Json]:
    """A row per unknown code, the hardest to tell from known pills first."""
    nearest = unknown.logits.argmax(axis=1)
    pills = pd.DataFrame({"code": unknown.codes, "score": score, "nearest": nearest})
    rows = [
        {
            "code": code,
            "pills": len(own),
            "auroc": metrics.auroc(known_score, own["score"].to_numpy()),
            "accepted": metrics.mean((own["score"] >= threshold).to_numpy()),
            "taken_for": str(classes["mapping_code"].iloc[own["nearest"].mode()[0]]),
        }
        for code, own in pills.groupby("code")
    ]
    return sorted(rows, key=lambda row: (row["auroc"] or 0.0, row["code"]))
