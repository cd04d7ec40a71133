"""The recogniser as commands use it: from the project's checkpoints or a release bundle, by torch
or onnxruntime, with the gallery's drugs beside the trained classes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pillsnap import params
from pillsnap.boxes import Boxes
from pillsnap.errors import ParameterError
from pillsnap.models import Floats, Namer, Pixels
from pillsnap.params import Params
from pillsnap.places import Places
from pillsnap.recogniser import Recogniser

BACKENDS = ("torch", "onnx")


@dataclass(frozen=True)
class Loaded:
    """A recogniser and the limits it is used within."""

    recogniser: Recogniser
    batch_size: int  # frames or crops at once
    max_pixels: int  # of a picture; larger ones are refused by their header
    backend: str
    scale: str


class WholePicture:
    """The detector of pictures that are crops already: all of each is the pill."""

    config: dict[str, Any] = {"architecture": "none"}  # noqa: RUF012  # read by nobody, by contract

    def detect(
        self, frames: Sequence[Pixels], confidence: float, iou: float
    ) -> list[tuple[Boxes, Floats]]:
        """One box a frame, its edge, surely."""
        sizes = [(frame.shape[1], frame.shape[0]) for frame in frames]
        return [
            (np.array([[0, 0, width, height]], np.float32), np.ones(1, np.float32))
            for width, height in sizes
        ]


class WithoutMargin:
    """A classifier whose crops carry their border already."""

    def __init__(self, namer: Namer) -> None:
        self._namer = namer
        self.config = {**namer.config, "crop_margin": 0.0}

    def name(self, crops: Pixels) -> tuple[Floats, Floats]:
        """As the classifier inside."""
        return self._namer.name(crops)


def load(backend: str, bundle_dir: Path | None, device: str) -> Loaded:
    """What `pillsnap predict` and `pillsnap serve` use; UserError when it is not there."""
    if backend not in BACKENDS:
        raise ParameterError(f"--backend is {backend!r}.", f"Use {' or '.join(BACKENDS)}.")
    return _from_checkpoints(params.load(), device)


def for_single(loaded: Loaded) -> Loaded:
    """The same for pictures that are crops already: nothing is detected, no border is added."""
    whole = loaded.recogniser
    single = Recogniser(
        WholePicture(),
        WithoutMargin(whole.classifier),
        whole.calibration,
        whole.classes,
        loaded.batch_size,
    )
    return replace(loaded, recogniser=single)


def _from_checkpoints(project: Params, device: str) -> Loaded:
    from pillsnap import devices  # torch is loaded for this back-end alone

    places, batch_size = Places.of(project), project.evaluate.batch_size
    recogniser = Recogniser.load(
        places.checkpoint("detection"),
        places.checkpoint("classification"),
        places.calibration,
        places.classes,
        devices.choose(device),
        batch_size,
    )
    return Loaded(recogniser, batch_size, project.validate_.max_pixels, "torch", project.scale)
