"""How sure a name is, and when no name is given: temperature, refusal score, threshold.

All chosen on val alone, and kept in a file beside the checkpoints.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from pillsnap import atomic, metrics, refusal
from pillsnap.arrays import Floats, Floats32, Ints
from pillsnap.errors import CheckpointError
from pillsnap.refusal import Compared, Outputs

LOG_TEMPERATURE = (-3.0, 3.0)  # 0.05 to 20
CHUNK = (
    4096  # pills in float64 at once: all of stage 4's would take 3 GB, and twice more on the way
)


@dataclass(frozen=True)
class Calibration:
    """What turns logits and embeddings into a probability and into a refusal."""

    temperature: float
    score: str  # one of refusal.SCORES
    threshold: float  # a pill whose score is lower is refused
    class_means: Floats32  # [classes, d], L2-normalised; a class without pills is all 0
    compared: Compared  # AUROC of every score against every stand-in for unknown pills
    chosen_on: str  # the stand-in that decided on the score
    detection_confidence: float  # the operating point everything was measured at
    detection_iou: float
    classification_sha256: str
    class_table_hash: str

    def refusal_score(self, pills: Outputs, allowed: Ints | None = None) -> NDArray[np.float64]:
        """[n]: high for pills like those the classes (only the `allowed` ones) were learnt from.

        Probabilities stay those among all classes: a pill that is surely none of the allowed
        ones is refused.
        """
        if allowed is None:
            return refusal.score_of(self.score, pills, self.class_means, self.temperature)
        if self.score == "max_probability":
            sure = metrics.probabilities(pills.logits, self.temperature)
            return np.asarray(sure[:, allowed].max(axis=1))
        part = Outputs(pills.logits[:, allowed], pills.embeddings)
        return refusal.score_of(self.score, part, self.class_means[allowed], self.temperature)


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
        confidence[half == own] = metrics.confidences(logits[half == own], temperature)
    return confidence


def fit(
    known: Outputs,
    truth: Ints,
    strangers: Mapping[str, Outputs],
    means: Floats32,
    known_recall: float,
    seed: int,
) -> Calibration:
    """Calibrate on val's known pills; `strangers` are refusal.STAND_INS' pills by name.

    The caller fills in the operating point and the hashes.
    """
    temperature = fit_temperature(known.logits, truth)
    compared = refusal.compare(known, truth, strangers, means, temperature, seed)
    basis = refusal.chosen_on(strangers)
    score = refusal.best_of(compared[basis])
    values = refusal.score_of(score, known, means, temperature)
    threshold = metrics.threshold_at(values, known_recall)
    assert threshold is not None, "no known pill in val"
    return Calibration(temperature, score, threshold, means, compared, basis, 0.0, 0.0, "", "")


def normalised(means: Floats) -> Floats32:
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
