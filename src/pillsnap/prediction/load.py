"""The recogniser as commands use it: from the project's checkpoints or a release bundle, by torch
or onnxruntime, with the gallery's drugs beside the trained classes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pillsnap import params
from pillsnap.arrays import Floats32, Pixels
from pillsnap.boxes import Boxes
from pillsnap.dataset import manifest
from pillsnap.errors import CheckpointError, MachineError, ParameterError
from pillsnap.params import Params
from pillsnap.places import Places
from pillsnap.prediction import enrolment
from pillsnap.prediction import gallery as galleries
from pillsnap.recognition import calibration
from pillsnap.recognition.models import Classifier
from pillsnap.recognition.recogniser import Recogniser
from pillsnap.release.bundle import AGAIN, Bundle

if TYPE_CHECKING:
    import torch

BACKENDS = ("torch", "onnx")
ALL_CORES = 0  # onnxruntime's word for it


@dataclass(frozen=True)
class Loaded:
    """A recogniser and the limits it is used within."""

    recogniser: Recogniser
    batch_size: int  # frames or crops at once
    max_pixels: int  # of a picture; larger ones are refused by their header
    backend: str
    scale: str
    gallery_path: Path
    enrolled: int = 0  # drugs of the gallery


class WholePicture:
    """The detector of pictures that are crops already: all of each is the pill."""

    config: dict[str, Any] = {"architecture": "none"}  # noqa: RUF012  # read by nobody, by contract

    def detect(
        self, frames: Sequence[Pixels], confidence: float, iou: float
    ) -> list[tuple[Boxes, Floats32]]:
        """One box a frame, its edge, surely."""
        sizes = [(frame.shape[1], frame.shape[0]) for frame in frames]
        return [
            (np.array([[0, 0, width, height]], np.float32), np.ones(1, np.float32))
            for width, height in sizes
        ]


class WithoutMargin:
    """A classifier whose crops carry their border already."""

    def __init__(self, namer: Classifier) -> None:
        self._namer = namer
        self.config = {**namer.config, "crop_margin": 0.0}

    def classify(self, crops: Pixels) -> tuple[Floats32, Floats32]:
        """As the classifier inside."""
        return self._namer.classify(crops)


def load(backend: str, bundle_dir: Path | None, device: str, enrolled: bool = True) -> Loaded:
    """What `pillsnap predict` and `pillsnap serve` use; UserError when it is not there.

    From the project in this folder, or from a release bundle. Without `enrolled` the gallery is
    left out.
    """
    if backend not in BACKENDS:
        raise ParameterError(f"--backend is {backend!r}.", f"Use one of {', '.join(BACKENDS)}.")
    if bundle_dir is None and backend == "torch":
        loaded = _from_checkpoints(params.load(), device)
    else:
        bundle = Bundle(bundle_dir or bundle_dir_of(params.load()))
        loaded = _from_bundle(bundle, backend, device)
    if not enrolled:
        return loaded
    own_sha256 = loaded.recogniser.calibration.classification_sha256
    gallery = galleries.load(loaded.gallery_path, own_sha256)
    return replace(
        loaded,
        recogniser=enrolment.with_gallery(loaded.recogniser, gallery),
        enrolled=len(gallery.entries),
    )


def bundle_dir_of(project: Params) -> Path:
    """Where `pillsnap export` writes when no other folder is named."""
    return project.artifacts_dir / "export"


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
    places, batch_size = Places.of(project), project.evaluate.batch_size
    recogniser = Recogniser.load(
        places.checkpoint("detection"),
        places.checkpoint("classification"),
        places.calibration,
        places.classes,
        _device(device),
        batch_size,
    )
    max_pixels, gallery = project.validate_.max_pixels, galleries.path_of(project.scale)
    return Loaded(recogniser, batch_size, max_pixels, "torch", project.scale, gallery)


def _from_bundle(bundle: Bundle, backend: str, device: str) -> Loaded:
    told = bundle.describe()
    batch_size = int(told["batch_size"])
    if backend == "torch":
        recogniser = Recogniser.load(
            bundle.detection_pt,
            bundle.classification_pt,
            bundle.calibration,
            bundle.classes,
            _device(device),
            batch_size,
        )
    else:
        recogniser = _by_onnx(bundle, batch_size)
    max_pixels, scale = int(told["max_pixels"]), str(told["scale"])
    return Loaded(recogniser, batch_size, max_pixels, backend, scale, bundle.gallery)


def _device(name: str) -> "torch.device":
    try:
        from pillsnap.training import devices  # torch is loaded for this back-end alone
    except ModuleNotFoundError as error:
        raise MachineError(
            f"--backend torch needs torch ({error}).", "--backend onnx does without it."
        ) from None
    return devices.choose(name)


def _by_onnx(bundle: Bundle, batch_size: int) -> Recogniser:
    try:
        from pillsnap.release.onnx_models import OnnxClassifier, OnnxDetector
    except ModuleNotFoundError as error:
        raise MachineError(
            f"--backend onnx needs onnxruntime ({error}).", "pip install onnxruntime"
        ) from None
    path = bundle.classification_onnx
    namer = OnnxClassifier(path, ALL_CORES)
    if namer.config["class_table_hash"] != manifest.class_table_hash(bundle.classes):
        raise CheckpointError(f"{path} was trained on another class table.", AGAIN)
    fitted = calibration.load(bundle.calibration, str(namer.config["checkpoint_sha256"]))
    finder = OnnxDetector(bundle.detection_onnx, ALL_CORES)
    return Recogniser(finder, namer, fitted, manifest.read_classes(bundle.classes), batch_size)
