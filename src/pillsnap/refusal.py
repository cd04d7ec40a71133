"""Scores that tell pills like the learnt ones from others, and how they are compared without test.

Three stand-ins for pills never learnt, all out of val; the first that holds enough decides:
  val_unknown  val's own pills of codes never learnt, where it has them
  glued        crops whose right half is another class's pill: no training has seen one
  left_out     classes whose logits and means are taken away, a fifth of them at a time

left_out only stands beside the others: the network was trained to keep exactly these classes
apart, which flatters every score, and those of the logits most.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from pillsnap import metrics
from pillsnap.arrays import Floats, Floats32, Ints

SCORES = ("max_probability", "energy", "class_mean")
STAND_INS = ("val_unknown", "glued", "left_out")
ENOUGH = 30  # pills: under it an AUROC is a guess
FOLDS = 5  # every class is left out once

Compared = dict[str, dict[str, float | None]]  # stand-in -> score -> AUROC


@dataclass(frozen=True)
class Outputs:
    """Logits [n, classes] and L2-normalised embeddings [n, d] of some pills."""

    logits: Floats
    embeddings: Floats

    def __len__(self) -> int:
        return len(self.logits)


def score_of(
    score: str, pills: Outputs, means: Floats32, temperature: float
) -> NDArray[np.float64]:
    """One refusal score of each pill, [n]; higher is more like a known pill.

    max_probability: Hendrycks & Gimpel 2017. energy: log-sum-exp of the logits, Liu et al. 2020.
    class_mean: cosine to the nearest class mean of the embedding.
    """
    if not len(pills):
        return np.empty(0)
    if score == "max_probability":
        return metrics.confidences(pills.logits, temperature)
    if score == "energy":
        return np.asarray(logsumexp(pills.logits.astype(np.float64), axis=1))
    assert score == "class_mean", score
    cosines = pills.embeddings @ means.T
    return np.asarray(cosines.max(axis=1), dtype=np.float64)


def compare(
    known: Outputs,
    truth: Ints,
    strangers: Mapping[str, Outputs],
    means: Floats32,
    temperature: float,
    seed: int,
) -> Compared:
    """AUROC of every score against every stand-in; None where it holds nothing."""
    compared: Compared = {}
    for name, pills in strangers.items():
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


def chosen_on(strangers: Mapping[str, Outputs]) -> str:
    """The stand-in that decides: the first of STAND_INS that holds enough pills."""
    held = [name for name in STAND_INS if len(strangers.get(name, ())) >= ENOUGH]
    return held[0] if held else "left_out"


def best_of(auroc: Mapping[str, float | None]) -> str:
    """The score of the highest AUROC, the simpler one (by SCORES) on a tie or without any."""
    return max(SCORES, key=lambda score: (auroc[score] or 0.0, -SCORES.index(score)))
