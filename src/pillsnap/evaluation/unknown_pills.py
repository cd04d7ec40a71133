"""The section `unknown` of evaluation.json: known against unknown pills in single photos, by the
score that was chosen on val. The unit of the intervals is the code: the next unknown pill is of yet
another one.
"""

import numpy as np
import pandas as pd

from pillsnap.arrays import Floats
from pillsnap.evaluation import intervals, metrics
from pillsnap.evaluation.answers import CropAnswers
from pillsnap.evaluation.sections import IMAGE_TYPES, explained
from pillsnap.files import Json
from pillsnap.recognition import scores
from pillsnap.recognition.calibration import Calibration

KIND = "single"


def measure(
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
        "known": {kind: _accepted(known.of_type(kind), fitted) for kind in IMAGE_TYPES},
        "chosen_on": fitted.chosen_on,
        "compared": [
            {
                "score": score,
                "kept": score == fitted.score,
                **{f"auroc_{name}": values[score] for name, values in fitted.compared.items()},
            }
            for score in scores.SCORES
        ],
        "held_out": _section(alike, held_out.of_type(KIND), *rest, why),
    }


def _accepted(known: CropAnswers, fitted: Calibration) -> Json:
    """The share of known pills that the threshold accepts."""
    share = metrics.mean(fitted.refusal_score(known) >= fitted.threshold)
    return {"pills": len(known), **explained({"accepted": share}, "no such pill in val")}


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
    nearest, rows = unknown.logits.argmax(axis=1), []
    for code in sorted(set(unknown.codes)):
        own = unknown.codes == code
        taken_for = int(np.bincount(nearest[own]).argmax())
        row = {
            "code": code,
            "pills": int(own.sum()),
            "auroc": metrics.auroc(known_score, score[own]),
            "accepted": metrics.mean(score[own] >= threshold),
            "taken_for": str(classes["mapping_code"].iloc[taken_for]),
        }
        rows.append(row)
    return sorted(rows, key=lambda row: (row["auroc"] or 0.0, row["code"]))
