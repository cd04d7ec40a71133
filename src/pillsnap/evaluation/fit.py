"""The calibration: temperature, refusal score and thresholds, fitted to val. Test chooses nothing.

The refusal score is the one that separates val's unknown pills best, where val has enough of them;
else DEFAULT. Stand-ins made of known pills (halves of two, imprints erased or exchanged) are not
used: they ranked the scores otherwise than true unknown pills did (docs/evaluation.md).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from pillsnap.arrays import Floats, Ints
from pillsnap.evaluation import metrics
from pillsnap.evaluation.answers import CropAnswers, FrameSet
from pillsnap.recognition import name_sets, scores
from pillsnap.recognition.calibration import Calibration, OperatingPoint
from pillsnap.recognition.centres import Centres
from pillsnap.recognition.scores import SCORES, Compared, Outputs

LOG_TEMPERATURE = (-3.0, 3.0)  # 0.05 to 20
ENOUGH = 30  # pills: under it an AUROC is a guess
DEFAULT = "mahalanobis"  # best on each of three drawn sets with 40 unknown codes
# Known recalls that a user can choose from, beside evaluate.known_recall
RECALLS = (0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99, 0.995)


def compare(known: Outputs, unknown: Outputs, centres: Centres, temperature: float) -> Compared:
    """AUROC of every score against unknown pills; None without any."""
    scored = {
        score: [scores.score_of(score, side, centres, temperature) for side in (known, unknown)]
        for score in SCORES
    }
    return {score: metrics.auroc(*sides) for score, sides in scored.items()}


def best_of(auroc: Mapping[str, float | None]) -> str:
    """The score of the highest AUROC, the simpler one (by SCORES) on a tie."""
    return max(SCORES, key=lambda score: (auroc[score] or 0.0, -SCORES.index(score)))


def fit_temperature(logits: Floats, truth: Ints) -> float:
    """The temperature of the lowest negative log-likelihood (Guo et al. 2017); 1 for no pills."""
    if not len(truth):
        return 1.0
    parts = [logits[rows] for rows in scores.slices(len(logits))]  # in float64 all would take 9 GB
    own = np.take_along_axis(logits, truth[:, None], axis=1)[:, 0].astype(np.float64)

    def loss(log_temperature: float) -> float:
        beta = np.exp(-log_temperature)
        sums = [logsumexp(part.astype(np.float64) * beta, axis=1) for part in parts]
        return float(np.mean(np.concatenate(sums) - own * beta))

    found = minimize_scalar(loss, bounds=LOG_TEMPERATURE, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def halves(groups: NDArray[Any], seed: int) -> Ints | None:
    """0 or 1 for each pill, [n]: a random half of the groups; None with a single group."""
    names, group_of = np.unique(groups.astype(str), return_inverse=True)
    if len(names) < 2:
        return None
    half_of = np.arange(len(names)) % 2
    np.random.default_rng(seed).shuffle(half_of)
    return np.asarray(half_of[group_of])


def of_truth(logits: Floats, truth: Ints, temperature: float) -> NDArray[np.float64]:
    """Calibrated probability of the true class of each pill, [n]."""
    of_truth = np.empty(len(truth))
    for rows in scores.slices(len(truth)):
        every = scores.probabilities(logits[rows], temperature)
        of_truth[rows] = every[np.arange(len(every)), truth[rows]]
    return of_truth


def cross_fitted(logits: Floats, truth: Ints, groups: NDArray[Any], seed: int) -> Floats:
    """Confidence of each pill under the temperature fitted on the other half of the groups.

    With a single group there is no other half: all NaN.
    """
    half = halves(groups, seed)
    if half is None:
        return np.full(len(truth), np.nan)
    confidence = np.empty(len(truth))
    for own in (0, 1):
        temperature = fit_temperature(logits[half != own], truth[half != own])
        confidence[half == own] = scores.confidences(logits[half == own], temperature)
    return confidence


def accepting(recall: float, values: Floats, kinds: NDArray[Any]) -> float:
    """The highest threshold that accepts this share of the known pills of every kind of photo, of
    which there are ENOUGH; of all kinds together if there are not. [n] scores and kinds."""
    found = [metrics.threshold_at(part, recall) for part in _by_kind(values, kinds)]
    return min(threshold for threshold in found if threshold is not None)


def fit(
    known: CropAnswers,
    unknown: Outputs,
    centres: Centres,
    known_recall: float,
    set_risk: float,
) -> Calibration:
    """Calibrate on val's known pills; `unknown`: val's pills of unknown codes.

    The caller fills in the detector's operating point and the hashes.
    """
    temperature = fit_temperature(known.logits, known.truth)
    compared = compare(known, unknown, centres, temperature)
    enough = len(unknown) >= ENOUGH
    score, basis = (best_of(compared), "val_unknown") if enough else (DEFAULT, "default")
    unfitted = 0.0, 0.0, 0.0, ()  # thresholds
    fitted = Calibration(temperature, score, *unfitted, centres, compared, basis, 0.0, 0.0, "", "")
    scored = fitted.refusal_score(known), known.table["image_type"].to_numpy(str)
    return _with_thresholds(fitted, known, scored, known_recall, set_risk)


def at_frames(
    fitted: Calibration, known: CropAnswers, frames: FrameSet, known_recall: float, set_risk: float
) -> Calibration:
    """With thresholds for the pills as the detector finds them in val's frames, whose boxes differ
    from the labels'; the same where it finds fewer than ENOUGH."""
    scored = frames.known_scores()
    if len(scored[0]) < ENOUGH:
        return fitted
    return _with_thresholds(fitted, known, scored, known_recall, set_risk)


def _with_thresholds(
    fitted: Calibration,
    known: CropAnswers,
    scored: tuple[Floats, NDArray[Any]],
    known_recall: float,
    set_risk: float,
) -> Calibration:
    """With a threshold for `known_recall`, which is used, and for each of RECALLS that may refuse a
    pill of each kind in `scored`, scores and kinds [n]: n pills support no recall above 1 - 1 / n.
    Each has the limit of the sets of names of the `known` pills that it accepts."""
    fewest = min(map(len, _by_kind(*scored)))
    recalls = {known_recall, *(each for each in RECALLS if fewest * (1 - each) >= 1 - 1e-9)}
    score = fitted.refusal_score(known)
    chances = of_truth(known.logits, known.truth, fitted.temperature)
    thresholds = ((recall, accepting(recall, *scored)) for recall in sorted(recalls))
    points = tuple(
        OperatingPoint(recall, least, name_sets.limit(chances[score >= least], set_risk))
        for recall, least in thresholds
    )
    return replace(fitted, operating_points=points).at(known_recall)


def _by_kind(values: Floats, kinds: NDArray[Any]) -> list[Floats]:
    """The values of each kind of which there are ENOUGH; of all kinds together if there is none."""
    names = [name for name in np.unique(kinds) if (kinds == name).sum() >= ENOUGH]
    return [values[kinds == name] for name in names] or [values]
