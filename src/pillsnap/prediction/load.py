"""The recogniser of the project's checkpoints or of a release bundle, with the enrolled drugs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pillsnap import files, params
from pillsnap.arrays import Floats32, Pixels
from pillsnap.boxes import Boxes
from pillsnap.dataset import manifest
from pillsnap.errors import CheckpointError, MachineError, UsageError
from pillsnap.imprint.weigh import CANDIDATES
from pillsnap.params import Params
from pillsnap.places import MODELS, Places
from pillsnap.prediction import enrolment, thresholds
from pillsnap.prediction import gallery as galleries
from pillsnap.prediction.imprints import Imprints, open_reader
from pillsnap.prediction.thresholds import Refusal
from pillsnap.recognition import calibration
from pillsnap.recognition.models import Classifier
from pillsnap.recognition.recogniser import Pill, Recogniser
from pillsnap.release.bundle import AGAIN, Bundle

if TYPE_CHECKING:
    import torch

BACKENDS = ("torch", "onnx")
DEVICE = re.compile(r"auto|cpu|(cuda|mps|xpu)(:[0-9]{1,3})?")
ALL_CORES = 0  # as onnxruntime counts threads


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
    imprints: Imprints | None = None  # None: imprints are not read

    def recognise(
        self, frames: Sequence[Pixels], top: int, codes: Sequence[str] | None = None
    ) -> list[list[Pill]]:
        """The pills of frames as `Recogniser.recognise`, with their imprints if they are read."""
        if self.imprints is None:
            return self.recogniser.recognise(frames, top, codes)
        found = self.recogniser.recognise(frames, max(top, CANDIDATES), codes)
        read = [self.imprints.added(*each) for each in zip(frames, found, strict=True)]
        return [
            [replace(pill, candidates=pill.candidates[:top]) for pill in pills] for pills in read
        ]


class WholePicture:
    """The detector for pictures that are crops already: the whole picture is the pill."""

    config: dict[str, Any] = {"architecture": "none"}  # noqa: RUF012  # read by nobody, by contract

    def detect(
        self, frames: Sequence[Pixels], confidence: float, iou: float
    ) -> list[tuple[Boxes, Floats32]]:
        """One box per frame, its edges, with confidence 1."""
        edges = (np.array([[0, 0, *frame.shape[1::-1]]], np.float32) for frame in frames)
        return [(box, np.ones(1, np.float32)) for box in edges]


class WithoutMargin:
    """A classifier whose crops are cut without a margin: they have one already."""

    def __init__(self, classifier: Classifier) -> None:
        self.classify = classifier.classify
        self.config = {**classifier.config, "crop_margin": 0.0}


def check(backend: str, bundle_dir: Path | None, device: str) -> None:
    """UserError for options with which `load` cannot succeed; costs no import of torch."""
    if backend not in BACKENDS:
        raise UsageError(f"--backend is {backend!r}.", f"Use one of {', '.join(BACKENDS)}.")
    if not DEVICE.fullmatch(device):
        raise UsageError(f"--device is {device!r}.", "Use auto, cpu, cuda or cuda:1.")
    if bundle_dir is not None or backend == "onnx":
        Bundle(bundle_dir or bundle_dir_of(params.load())).describe()
    else:
        check_checkpoints(Places.of(params.load()))


def check_checkpoints(places: Places) -> None:
    """UserError unless the class table, both checkpoints and the calibration can be opened."""
    manifest.class_table_hash(places.classes)
    cure = "Train it (dvc repro) or restore it (dvc checkout)."
    for path in (*map(places.checkpoint, MODELS), places.calibration):
        with files.opened(path, cure, CheckpointError, files.LARGEST_MODEL_BYTES):
            pass


def load(
    backend: str,
    bundle_dir: Path | None,
    device: str,
    enrolled: bool = True,
    imprint: bool | None = False,
    refusal: Refusal = None,
) -> Loaded:
    """The project's models or a bundle's, run once, with the gallery if `enrolled`; UserError.

    `imprint`: whether imprints are read; None: if the reader is installed. `refusal`: which of the
    fitted thresholds is used.
    """
    check(backend, bundle_dir, device)
    reader = open_reader(imprint)
    if bundle_dir is None and backend == "torch":
        loaded = _from_checkpoints(params.load(), device)
    else:
        folder = bundle_dir or bundle_dir_of(params.load())
        loaded = _from_bundle(Bundle(folder), backend, device)
    own = loaded.recogniser
    own.calibration = thresholds.chosen(own.calibration, refusal)
    _try_out(own)
    if not enrolled:
        return loaded
    gallery = gallery_of(loaded)
    recogniser = enrolment.with_gallery(own, gallery)
    loaded = replace(loaded, recogniser=recogniser, enrolled=len(gallery.entries))
    if reader is None:
        return loaded
    table, fitted = classes_path(backend, bundle_dir), recogniser.calibration
    by_val = (fitted.imprint_ratios, fitted.refuse_contradicted)
    imprints = Imprints(reader, recogniser.classes, table, *by_val)
    return replace(loaded, imprints=imprints)


def classes_path(backend: str, bundle_dir: Path | None) -> Path:
    """The class table of the project's models or of a bundle's."""
    if bundle_dir is None and backend != "onnx":
        return Places.of(params.load()).classes
    return Bundle(bundle_dir or bundle_dir_of(params.load())).classes


def gallery_of(loaded: Loaded) -> galleries.Gallery:
    """The gallery of the loaded models; CheckpointError if it is damaged or of another one."""
    fitted = loaded.recogniser.calibration
    size = fitted.centres.means.shape[2]
    return galleries.load(loaded.gallery_path, fitted.classification_sha256, size)


def bundle_dir_of(project: Params) -> Path:
    """Where `pillsnap export` writes by default."""
    return project.artifacts_dir / "export"


def for_single(loaded: Loaded) -> Loaded:
    """The same for pictures that are crops already: nothing is detected, no margin is added."""
    own = loaded.recogniser
    models = WholePicture(), WithoutMargin(own.classifier)
    single = Recogniser(*models, own.calibration, own.classes, loaded.batch_size)
    return replace(loaded, recogniser=single)


def _from_checkpoints(project: Params, device: str) -> Loaded:
    places, batch_size = Places.of(project), project.evaluate.batch_size
    detection, classification = map(places.checkpoint, MODELS)
    recogniser = Recogniser.load(
        detection, classification, places.calibration, places.classes, _device(device), batch_size
    )
    max_pixels, gallery = project.validate_.max_pixels, galleries.path_of(project.scale)
    return Loaded(recogniser, batch_size, max_pixels, "torch", project.scale, gallery)


def _from_bundle(bundle: Bundle, backend: str, device: str) -> Loaded:
    """Every file is compared with its checksum before it is loaded."""
    use = bundle.describe()
    models = bundle.detection_onnx, bundle.classification_onnx
    if backend == "torch":
        models = bundle.detection_pt, bundle.classification_pt
    gallery = [bundle.gallery] if bundle.holds(bundle.gallery) else []
    bundle.check([*models, bundle.calibration, bundle.classes, *gallery])
    if backend == "torch":
        recogniser = Recogniser.load(
            *models, bundle.calibration, bundle.classes, _device(device), use.batch_size
        )
    else:
        recogniser = _by_onnx(bundle, use.batch_size)
    return Loaded(recogniser, use.batch_size, use.max_pixels, backend, use.scale, bundle.gallery)


def _device(name: str) -> "torch.device":
    try:
        from pillsnap.training import devices  # torch is loaded for this back-end alone
    except ModuleNotFoundError as error:
        fact = f"--backend torch needs torch ({error})."
        raise MachineError(fact, "--backend onnx works without it.") from None
    return devices.choose(name)


def _by_onnx(bundle: Bundle, batch_size: int) -> Recogniser:
    try:
        from pillsnap.release.onnx_models import OnnxClassifier, OnnxDetector
    except ModuleNotFoundError as error:
        fact = f"--backend onnx needs onnxruntime ({error})."
        raise MachineError(fact, "pip install 'pillsnap[onnx]'") from None
    path = bundle.classification_onnx
    classifier = OnnxClassifier(path, ALL_CORES)
    if classifier.config.get("class_table_hash") != manifest.class_table_hash(bundle.classes):
        raise CheckpointError(f"{path} was trained on another class table.", AGAIN)
    fitted = calibration.load(bundle.calibration, str(classifier.config.get("checkpoint_sha256")))
    detector = OnnxDetector(bundle.detection_onnx, ALL_CORES)
    classes = manifest.read_classes(bundle.classes)
    return Recogniser(detector, classifier, fitted, classes, batch_size)


def _try_out(recogniser: Recogniser) -> None:
    """Run both models once, as a warm-up; CheckpointError for a calibration of another shape."""
    grey = np.full((640, 480, 3), 127, np.uint8)
    recogniser.detect([grey])
    logits, embeddings = recogniser.classify(recogniser.cut(grey, np.array([[100, 100, 200, 200]])))
    means, classes = recogniser.calibration.centres.means, len(recogniser.classes)
    expected = (logits.shape[1], embeddings.shape[1])
    if means.shape[::2] != expected or classes != expected[0]:
        raise CheckpointError(
            f"The calibration holds centres of shape {means.shape}, the class table {classes} "
            f"classes; the classifier's outputs are of {expected}.",
            "Make them again: dvc repro -f -s evaluate (and pillsnap export, for a bundle).",
        )
