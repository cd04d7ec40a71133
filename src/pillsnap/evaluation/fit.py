"""The calibration: temperature, refusal score and threshold, fitted to val. Test chooses nothing.

The refusal score is chosen on stand-ins for unknown pills, all made of val; the first that holds
enough pills decides:
  val_unknown  val's own pills of unknown codes, where it has them
  glued        crops whose right half is another class's pill: new to every training
  left_out     classes whose logits and means are taken away, a fifth of them at a time

left_out is reported next to the others: the network was trained to keep exactly these classes
apart, which favours every score, and those of the logits most.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from pillsnap.arrays import Floats, Floats32, Ints
from pillsnap.evaluation import metrics
from pillsnap.recognition.calibration import Calibration
from pillsnap.recognition.scores import SCORES, Compared, Outputs, confidences, score_of

LOG_TEMPERATURE = (-3.0, 3.0)  # 0.05 to 20
CHUNK = 4096  # pills in float64 at once: all of stage 4's would take 9 GB
STAND_INS = ("val_unknown", "glued", "left_out")
ENOUGH = 30  # pills: under it an AUROC is a guess
FOLDS = 5  # every class is left out once


def compare(
    known: Outputs,
    truth: Ints,
    stand_ins: Mapping[str, Outputs],
    means: Floats32,
    temperature: float,
    seed: int,
) -> Compared:
    """AUROC of every score against every stand-in; None against an empty one."""
    compared: Compared = {}
    for name, pills in stand_ins.items():
        scored = {
            score: [score_of(score, side, means, temperature) for side in (known, pills)]
            for score in SCORES
        }
        compared[name] = {score: metrics.auroc(*sides) for score, sides in scored.items()}
    compared["left_out"] = left_out(known, truth, means, temperature, seed)
    return compared


def left_out(
    known: Outputs, truth: Ints, means: Floats32, temperature: float, seed: int
) -> dict[str, float | None]:
    """Mean AUROC of each score over the folds of left-out classes; None with too few classes."""
    present = np.unique(truth)
    fold_of = np.arange(known.logits.shape[1]) % FOLDS
    np.random.default_rng(seed).shuffle(fold_of)
    folds = [fold for fold in range(FOLDS) if 0 < (fold_of[present] == fold).sum() < len(present)]
    found: dict[str, list[float | None]] = {score: [] for score in SCORES}
    for fold in folds:
        kept, out = fold_of != fold, fold_of[truth] == fold
        pills = Outputs(known.logits[:, kept], known.embeddings)
        for score in SCORES:
            values = score_of(score, pills, means[kept], temperature)
            found[score].append(metrics.auroc(values[~out], values[out]))
    return {score: metrics.mean(np.array(values)) for score, values in found.items()}


def chosen_on(stand_ins: Mapping[str, Outputs]) -> str:
    """The first of STAND_INS that holds enough pills."""
    held = [name for name in STAND_INS if len(stand_ins.get(name, ())) >= ENOUGH]
    return held[0] if held else "left_out"


def best_of(auroc: Mapping[str, float | None]) -> str:
    """The score of the highest AUROC, the simpler one (by SCORES) on a tie or without any."""
    return max(SCORES, key=lambda score: (auroc[score] or 0.0, -SCORES.index(score)))


def fit_temperature(logits: Floats, truth: Ints) -> float:
    """The temperature of the lowest negative log-likelihood (Guo et al. 2017); 1 for no pills."""
    if not len(truth):
        return 1.0
    chunks = [logits[start : start + CHUNK] for start in range(0, len(logits), CHUNK)]
    own = np.take_along_axis(logits, truth[:, None], axis=1)[:, 0].astype(np.float64)

    def loss(log_temperature: float) -> float:
        beta = np.exp(-log_temperature)
        parts = [logsumexp(part.astype(np.float64) * beta, axis=1) for part in chunks]
        return float(np.mean(np.concatenate(parts) - own * beta))

    found = minimize_scalar(loss, bounds=LOG_TEMPERATURE, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def cross_fitted(logits: Floats, truth: Ints, groups: NDArray[Any], seed: int) -> Floats:
    """Confidence of each pill under the temperature fitted on the other half of the groups.

    With a single group there is no other half: all NaN.
    """
    names, group_of = np.unique(groups.astype(str), return_inverse=True)
    if len(names) < 2:
        return np.full(len(truth), np.nan)
    half_of = np.arange(len(names)) % 2
    np.random.default_rng(seed).shuffle(half_of)
    half = half_of[group_of]
    confidence = np.empty(len(truth))
    for own in (0, 1):
        temperature = fit_temperature(logits[half != own], truth[half != own])
        confidence[half == own] = confidences(logits[half == own], temperature)
    return confidence


def fit(
    known: Outputs,
    truth: Ints,
    stand_ins: Mapping[str, Outputs],
    means: Floats32,
    known_recall: float,
    seed: int,
) -> Calibration:
    """Calibrate on val's known pills; `stand_ins` holds outputs by the names of STAND_INS.

    The caller fills in the operating point and the hashes.
    """
    temperature = fit_temperature(known.logits, truth)
    compared = compare(known, truth, stand_ins, means, temperature, seed)
    basis = chosen_on(stand_ins)
    score = best_of(compared[basis])
    values = score_of(score, known, means, temperature)
    threshold = metrics.threshold_at(values, known_recall)
    assert threshold is not None, "no known pill in val"
    return Calibration(temperature, score, threshold, means, compared, basis, 0.0, 0.0, "", "")
