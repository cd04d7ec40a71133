"""How sure a name is, and when no name is given: temperature, refusal score, threshold.

Chosen on val alone. Which refusal score is kept is decided by leaving classes out: a fifth of the
classes at a time is treated as unknown by taking its logits and class means away.
"""

import base64
import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from pillsnap import atomic, metrics
from pillsnap.errors import CheckpointError

Floats = NDArray[np.floating[Any]]
Means = NDArray[np.float32]
Ints = NDArray[np.int64]

SCORES = ("max_probability", "energy", "class_mean")
FOLDS = 5  # every class is left out once
LOG_TEMPERATURE = (-3.0, 3.0)  # 0.05 to 20


@dataclass(frozen=True)
class Calibration:
    """What turns logits and embeddings into a probability and into a refusal."""

    temperature: float
    score: str  # one of SCORES
    threshold: float  # a pill whose score is lower is refused
    class_means: Means  # [classes, d], L2-normalised; a class without pills is all 0
    left_out_auroc: dict[str, float | None]  # how the scores compared on left-out classes
    detection_confidence: float  # the operating point everything was measured at
    detection_iou: float
    classification_sha256: str
    class_table_hash: str

    def refusal_score(
        self, logits: Floats, embeddings: Floats, allowed: Ints | None = None
    ) -> NDArray[np.float64]:
        """[n]: high for pills like those the classes (only the `allowed` ones) were learnt from.

        Probabilities stay those among all classes: a pill that is surely none of the allowed
        ones is refused.
        """
        if allowed is None:
            return score_of(self.score, logits, embeddings, self.class_means, self.temperature)
        if self.score == "max_probability":
            sure = metrics.probabilities(logits, self.temperature)
            return np.asarray(sure[:, allowed].max(axis=1))
        means = self.class_means[allowed]
        return score_of(self.score, logits[:, allowed], embeddings, means, self.temperature)


def fit_temperature(logits: Floats, truth: Ints) -> float:
    """The temperature of the lowest negative log-likelihood (Guo et al. 2017); 1 for no pills."""
    if not len(truth):
        return 1.0
    logits = logits.astype(np.float64)
    own = np.take_along_axis(logits, truth[:, None], axis=1)[:, 0]

    def loss(log_temperature: float) -> float:
        beta = np.exp(-log_temperature)
        return float(np.mean(logsumexp(logits * beta, axis=1) - own * beta))

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
        confidence[half == own] = metrics.confidences(logits[half == own], temperature)
    return confidence


def score_of(
    score: str, logits: Floats, embeddings: Floats, means: Means, temperature: float
) -> NDArray[np.float64]:
    """One refusal score of each pill, [n]; higher is more like a known pill.

    max_probability: Hendrycks & Gimpel 2017. energy: log-sum-exp of the logits, Liu et al. 2020.
    class_mean: cosine to the nearest class mean of the embedding.
    """
    if score == "max_probability":
        return metrics.confidences(logits, temperature)
    if score == "energy":
        return np.asarray(logsumexp(logits.astype(np.float64), axis=1))
    assert score == "class_mean", score
    nearest = (embeddings @ means.T).max(axis=1) if len(means) else np.zeros(len(embeddings))
    return np.asarray(nearest, dtype=np.float64)


def compare(
    logits: Floats, embeddings: Floats, truth: Ints, means: Means, temperature: float, seed: int
) -> dict[str, float | None]:
    """Mean AUROC of each score over the folds of left-out classes; None with too few classes."""
    present = np.unique(truth)
    fold_of = np.arange(logits.shape[1]) % FOLDS
    np.random.default_rng(seed).shuffle(fold_of)
    folds = [fold for fold in range(FOLDS) if 0 < (fold_of[present] == fold).sum() < len(present)]
    found: dict[str, list[float | None]] = {score: [] for score in SCORES}
    for fold in folds:
        kept, left_out = fold_of != fold, fold_of[truth] == fold
        for score in SCORES:
            values = score_of(score, logits[:, kept], embeddings, means[kept], temperature)
            found[score].append(metrics.auroc(values[~left_out], values[left_out]))
    return {score: metrics.mean(np.array(values)) for score, values in found.items()}


def best_of(left_out_auroc: dict[str, float | None]) -> str:
    """The score of the highest AUROC, the simpler one (by SCORES) on a tie or without any."""
    return max(SCORES, key=lambda score: (left_out_auroc[score] or 0.0, -SCORES.index(score)))


def fit(
    logits: Floats,
    embeddings: Floats,
    truth: Ints,
    means: Means,
    known_recall: float,
    seed: int,
) -> Calibration:
    """Calibrate on val's known pills; the caller fills in the operating point and the hashes."""
    temperature = fit_temperature(logits, truth)
    left_out_auroc = compare(logits, embeddings, truth, means, temperature, seed)
    score = best_of(left_out_auroc)
    values = score_of(score, logits, embeddings, means, temperature)
    threshold = metrics.threshold_at(values, known_recall)
    assert threshold is not None, "no known pill in val"
    return Calibration(temperature, score, threshold, means, left_out_auroc, 0.0, 0.0, "", "")


def normalised(means: Floats) -> Means:
    """Rows of length 1; a row of zeros (a class without pills) stays."""
    length = np.linalg.norm(means, axis=1, keepdims=True)
    return np.asarray(means / np.where(length > 0, length, 1.0), dtype=np.float32)


def save(path: Path, calibration: Calibration) -> None:
    """Write the calibration as JSON with its own sha256 in it; equal values give equal bytes."""
    tree = asdict(replace(calibration, class_means=np.empty(0, np.float32)))
    tree["class_means"] = {
        "shape": list(calibration.class_means.shape),
        "float32_base64": base64.b64encode(
            calibration.class_means.astype("<f4").tobytes()
        ).decode(),
    }
    tree["sha256"] = _digest(tree)
    atomic.write_text(path, json.dumps(tree, indent=1, sort_keys=True, allow_nan=False) + "\n")


def load(path: Path, classification_sha256: str) -> Calibration:
    """Read a calibration; CheckpointError when damaged or made for another classifier."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        digest = tree.pop("sha256")
    except FileNotFoundError:
        raise CheckpointError(f"{path} is not here.", "Make it: dvc repro evaluate") from None
    except (ValueError, KeyError, AttributeError):
        raise CheckpointError(f"{path} is damaged.", _RESTORE) from None
    if digest != _digest(tree):
        raise CheckpointError(f"{path} is damaged: its sha256 does not fit its content.", _RESTORE)
    if tree["classification_sha256"] != classification_sha256:
        raise CheckpointError(
            f"{path} was fitted to another classifier than the one beside it.",
            "Fit it again: dvc repro evaluate",
        )
    means = base64.b64decode(tree["class_means"]["float32_base64"])
    shape = tree["class_means"]["shape"]
    tree["class_means"] = np.frombuffer(means, dtype="<f4").reshape(shape).astype(np.float32)
    return Calibration(**tree)


_RESTORE = "Restore it: dvc checkout, or fit it again: dvc repro -f evaluate"


def _digest(tree: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()
