"""How sure a name is, and when no name is given: temperature, refusal score, threshold.

All chosen on val alone, and kept in a file beside the checkpoints.
"""

import base64
import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pillsnap import files
from pillsnap.arrays import Floats, Floats32, Ints
from pillsnap.errors import CheckpointError
from pillsnap.recognition import scores
from pillsnap.recognition.scores import Compared, Outputs


@dataclass(frozen=True)
class Calibration:
    """What turns logits and embeddings into a probability and into a refusal."""

    temperature: float
    score: str  # one of scores.SCORES
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
            return scores.score_of(self.score, pills, self.class_means, self.temperature)
        if self.score == "max_probability":
            sure = scores.probabilities(pills.logits, self.temperature)
            return np.asarray(sure[:, allowed].max(axis=1))
        part = Outputs(pills.logits[:, allowed], pills.embeddings)
        return scores.score_of(self.score, part, self.class_means[allowed], self.temperature)


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
    files.write_text(path, json.dumps(tree, indent=1, sort_keys=True, allow_nan=False) + "\n")


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
