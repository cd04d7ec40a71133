"""Temperature, refusal score and threshold: what turns logits into probabilities and refusals.

All are chosen on val alone and stored in a file next to the checkpoints.
"""

import base64
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PlainValidator, PositiveFloat

from pillsnap import files
from pillsnap.arrays import Floats, Floats32, Ints
from pillsnap.errors import CheckpointError, reason_of
from pillsnap.recognition import scores
from pillsnap.recognition.scores import Compared, Outputs

Share = Annotated[float, Field(ge=0.0, le=1.0)]

CURE = "Fit it again: dvc repro -f -s evaluate"


def _decoded(tree: Any) -> Floats32:
    """Class means as `save` writes them."""
    try:
        content, shape = base64.b64decode(tree["float32_base64"]), tree["shape"]
        rows, width = np.frombuffer(content, "<f4").reshape(shape).shape
    except (TypeError, LookupError, ValueError) as error:
        raise ValueError(f"no table of class means ({reason_of(error)})") from None
    return np.frombuffer(content, "<f4").reshape(rows, width).astype(np.float32)


@dataclass(frozen=True)
class Calibration:
    """What turns logits and embeddings into a probability and into a refusal."""

    temperature: PositiveFloat
    score: Annotated[str, Field(pattern=f"^({'|'.join(scores.SCORES)})$")]
    threshold: float  # a pill whose score is lower is refused
    set_probability: float  # a class this likely is in the set of names (name_sets)
    # [classes, d], L2-normalised; a class without pills is all 0
    class_means: Annotated[Floats32, PlainValidator(_decoded)]
    compared: Compared  # AUROC of every score against every stand-in for unknown pills
    chosen_on: str  # the stand-in that the score was chosen on
    detection_confidence: Share  # the operating point of the detector
    detection_iou: Share
    classification_sha256: str
    class_table_hash: str

    def refusal_score(self, pills: Outputs, allowed: Ints | None = None) -> NDArray[np.float64]:
        """[n]: high for pills that look like the classes (only the `allowed` ones).

        Probabilities stay those among all classes: a pill that is clearly none of the allowed
        ones is refused.
        """
        if allowed is None:
            return scores.score_of(self.score, pills, self.class_means, self.temperature)
        if self.score == "max_probability":
            every = scores.probabilities(pills.logits, self.temperature)
            return np.asarray(every[:, allowed].max(axis=1))
        part = Outputs(pills.logits[:, allowed], pills.embeddings)
        return scores.score_of(self.score, part, self.class_means[allowed], self.temperature)


def normalised(means: Floats) -> Floats32:
    """Rows of length 1; a row of zeros (a class without pills) stays."""
    length = np.linalg.norm(means, axis=1, keepdims=True)
    return np.asarray(means / np.where(length > 0, length, 1.0), dtype=np.float32)


def save(path: Path, calibration: Calibration) -> None:
    """Write the calibration as sealed JSON; equal values give equal bytes."""
    tree = asdict(replace(calibration, class_means=np.empty(0, np.float32)))
    means = calibration.class_means.astype("<f4").tobytes()
    tree["class_means"] = {
        "shape": list(calibration.class_means.shape),
        "float32_base64": base64.b64encode(means).decode(),
    }
    files.write_sealed_json(path, tree)


def load(path: Path, classification_sha256: str) -> Calibration:
    """Read a calibration; CheckpointError when damaged or fitted to another classifier."""
    tree = files.read_sealed_json(path, CURE, CheckpointError)
    if tree.keys() != {field.name for field in fields(Calibration)}:
        raise CheckpointError(f"{path} was written by another version of PillSnap.", CURE)
    fitted = files.typed(tree, Calibration, path, CURE, CheckpointError)
    if fitted.classification_sha256 != classification_sha256:
        raise CheckpointError(f"{path} was fitted to another classifier checkpoint.", CURE)
    return fitted
