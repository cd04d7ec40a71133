"""What the configuration of a checkpoint or of an exported graph must hold, within which bounds.

A hash tells damage from content, not a sound file from one made to harm: a name may not lead to a
file or a hub, a size not to gigabytes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, FiniteFloat, PositiveFloat

from pillsnap import files
from pillsnap.errors import CheckpointError

Count = Annotated[int, Field(strict=True, gt=0, le=100_000)]
Side = Annotated[int, Field(strict=True, gt=0, le=4096)]  # pixels


@dataclass(frozen=True)
class DetectionConfig:
    """Of a detector."""

    architecture: Annotated[str, Field(pattern=r"^yolo(11|26)[nsmlx]$")]
    image_px: Side


@dataclass(frozen=True)
class ClassificationConfig:
    """Of a classifier; mean and deviation of its input are per RGB channel in 0..1."""

    architecture: Annotated[str, Field(pattern=r"^\w[\w.]*$")]  # of timm
    classes: Count
    image_px: Side
    crop_px: Side
    crop_margin: Annotated[float, Field(strict=True, ge=0.0, le=1.0)]
    mean: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat]


CONFIGS = {"detection": DetectionConfig, "classification": ClassificationConfig}


def check(config: dict[str, Any], kind: str, path: Path, cure: str) -> None:
    """CheckpointError unless `config`, of the file at `path`, is that of a usable `kind`."""
    found = str(config.get("kind"))[:30]
    if found != kind:
        raise CheckpointError(f"{path} holds a {found} model, not a {kind} model.", cure)
    files.typed(config, CONFIGS[kind], path, cure, CheckpointError)
