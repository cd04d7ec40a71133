"""Confidences and refusal scores: from logits and embeddings to numbers that can be compared."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from pillsnap.arrays import Floats
from pillsnap.recognition.centres import Centres

SCORES = ("max_probability", "energy", "mahalanobis")
ROWS = 4096  # rows of logits worked on at a time: bounds memory at 4,000 classes

Compared = dict[str, float | None]  # score -> AUROC


@dataclass(frozen=True)
class Outputs:
    """Logits [n, classes] and L2-normalised embeddings [n, d] of some pills."""

    logits: Floats
    embeddings: Floats

    def __len__(self) -> int:
        return len(self.logits)


def slices(count: int) -> list[slice]:
    """Of `count` rows, ROWS at a time."""
    return [slice(start, start + ROWS) for start in range(0, count, ROWS)]


def probabilities(logits: Floats, temperature: float) -> NDArray[np.float64]:
    """Softmax of logits / temperature, [n, classes]."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(axis=1, keepdims=True)
    return scaled


def confidences(logits: Floats, temperature: float) -> NDArray[np.float64]:
    """Probability of the first class, [n, classes] -> [n]; a few rows at a time."""
    parts = [probabilities(logits[rows], temperature).max(axis=1) for rows in slices(len(logits))]
    return np.concatenate([np.empty(0), *parts])


def score_of(
    score: str, pills: Outputs, centres: Centres, temperature: float
) -> NDArray[np.float64]:
    """One refusal score of each pill, [n]; higher is more like a known pill.

    max_probability: Hendrycks & Gimpel 2017. energy: log-sum-exp of the logits, Liu et al. 2020.
    mahalanobis: likeness of the embedding to the most similar class, Lee et al. 2018.
    """
    if not len(pills):
        return np.empty(0)
    if score == "max_probability":
        return confidences(pills.logits, temperature)
    if score == "energy":
        return np.asarray(logsumexp(pills.logits.astype(np.float64), axis=1))
    assert score == "mahalanobis", score
    parts = [
        centres.likeness(pills.embeddings[rows]).max(axis=1, initial=-np.inf)
        for rows in slices(len(pills))
    ]
    return np.concatenate(parts).astype(np.float64)
