"""Temperature, refusal score and thresholds: what turns logits into probabilities and refusals.

All are chosen on val alone and stored in a file next to the checkpoints.
"""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat

from pillsnap import files
from pillsnap.arrays import Ints
from pillsnap.errors import CheckpointError
from pillsnap.imprint.weigh import Ratios
from pillsnap.recognition import scores
from pillsnap.recognition.centres import Centres, encoded
from pillsnap.recognition.scores import Compared, Outputs

Share = Annotated[float, Field(ge=0.0, le=1.0)]

CURE = "Fit it again: dvc repro -f -s evaluate"


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold of refusal, and the sets of names of the pills it accepts."""

    known_recall: Share  # the threshold accepts at least this share of val's known pills
    threshold: float  # a pill whose score is lower is refused
    set_probability: float  # a class this likely is in the set of names (name_sets)


@dataclass(frozen=True)
class Calibration:
    """What turns logits and embeddings into a probability and into a refusal."""

    temperature: PositiveFloat
    score: Annotated[str, Field(pattern=f"^({'|'.join(scores.SCORES)})$")]
    known_recall: Share  # this and the next two: the operating point in use
    threshold: float
    set_probability: float
    operating_points: Annotated[tuple[OperatingPoint, ...], Field(min_length=1)]  # to choose from
    centres: Centres  # of the classes among train's embeddings
    compared: Compared  # AUROC of every score against val's unknown pills
    chosen_on: str  # val_unknown; or default, where val has too few
    detection_confidence: Share  # the operating point of the detector
    detection_iou: Share
    classification_sha256: str
    class_table_hash: str
    imprint_ratios: Ratios | None = None  # None: imprint.weigh.RATIOS
    refuse_contradicted: bool = False  # a pill whose imprint contradicts its likeliest class

    def at(self, known_recall: float) -> "Calibration":
        """The same at another one of the operating points."""
        points = {point.known_recall: point for point in self.operating_points}
        return replace(self, **asdict(points[known_recall]))

    def refusal_score(self, pills: Outputs, allowed: Ints | None = None) -> NDArray[np.float64]:
        """[n]: high for pills that look like the classes (only the `allowed` ones).

        Probabilities stay those among all classes: a pill that is clearly none of the allowed
        ones is refused.
        """
        if allowed is None or len(allowed) == len(self.centres):
            return scores.score_of(self.score, pills, self.centres, self.temperature)
        if self.score == "max_probability":
            every = scores.probabilities(pills.logits, self.temperature)
            return np.asarray(every[:, allowed].max(axis=1))
        part = Outputs(pills.logits[:, allowed], pills.embeddings)
        return scores.score_of(self.score, part, self.centres.of(allowed), self.temperature)


def save(path: Path, calibration: Calibration) -> None:
    """Write the calibration as sealed JSON; equal values give equal bytes."""
    own = calibration.centres
    centres = {"means": encoded(own.means), "spread": encoded(own.spread)}
    files.write_sealed_json(path, asdict(calibration) | {"centres": centres})


def load(path: Path, classification_sha256: str) -> Calibration:
    """Read a calibration; CheckpointError when damaged or fitted to another classifier."""
    tree = files.read_sealed_json(path, CURE, CheckpointError)
    if tree.keys() != {field.name for field in fields(Calibration)}:
        raise CheckpointError(f"{path} was written by another version of PillSnap.", CURE)
    fitted = files.typed(tree, Calibration, path, CURE, CheckpointError)
    if fitted.classification_sha256 != classification_sha256:
        raise CheckpointError(f"{path} was fitted to another classifier checkpoint.", CURE)
    return fitted
