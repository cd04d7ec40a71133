"""How often the sets of names hold the right one, and how many names they hold."""

import numpy as np

from pillsnap.arrays import Bools
from pillsnap.evaluation import fit, intervals, metrics
from pillsnap.evaluation.answers import CropAnswers
from pillsnap.evaluation.sections import IMAGE_TYPES, explained
from pillsnap.files import Json
from pillsnap.recognition import name_sets, scores
from pillsnap.recognition.calibration import Calibration


def measure(val: CropAnswers, fitted: Calibration, risk: float, seed: int) -> Json:
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
        values: Json = {"coverage": None, "names_per_pill": None}
        if half is not None:
            means = metrics.mean(covered[rows]), metrics.mean(size[rows])
            values = dict(zip(values, means, strict=True))
        ci = intervals.ratio(covered[rows], np.ones(int(rows.sum())), kept.groups[rows])
        return {
            **explained(values, "no accepted known pills of two capture groups"),
            "pills": int(rows.sum()),
            "ci": {"coverage": None if half is None else ci},
        }

    types = kept.table["image_type"].to_numpy()
    return {
        **section(np.ones(len(kept), dtype=bool)),
        "risk": risk,
        "set_probability": fitted.set_probability,
        **{kind: section(types == kind) for kind in IMAGE_TYPES},
    }
