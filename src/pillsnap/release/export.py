"""`pillsnap export`: the trained models as a release bundle, compared with torch first."""

import shutil
from pathlib import Path
from typing import Any

import torch

from pillsnap import files
from pillsnap.classification import classifier
from pillsnap.dataset import manifest
from pillsnap.dataset.crops import CropStore
from pillsnap.dataset.frames import FrameStore
from pillsnap.detection import detector
from pillsnap.errors import CheckpointError, MachineError, ParameterError
from pillsnap.places import Places
from pillsnap.recognition import calibration
from pillsnap.release import graphs
from pillsnap.release.bundle import DESCRIPTION, Bundle
from pillsnap.release.onnx_models import OnnxClassifier, OnnxDetector

Json = dict[str, Any]

MOST_LOGIT_DIFFERENCE = 1e-3  # far below the difference between two classes
MOST_SCORE_DIFFERENCE = 1e-3
MOST_BOX_DIFFERENCE_PX = 0.1  # of the detector's input


def export(
    places: Places, out: Path, batch_size: int, max_pixels: int, gallery: Path | None
) -> None:
    """Write the release bundle; MachineError when a graph differs from torch.

    It is built next to `out` and replaces it only when it is complete; an existing folder must be
    a bundle, else ParameterError. `batch_size` and `max_pixels` are the limits the bundle is used
    within, `gallery` the file of enrolled drugs to include.
    """
    out = out.resolve()
    with files.alone(out.parent):
        _replace(places, out, batch_size, max_pixels, gallery)


def _replace(
    places: Places, out: Path, batch_size: int, max_pixels: int, gallery: Path | None
) -> None:
    old = out.with_name(f".{out.name}.replaced")
    if old.is_dir() and not out.exists():  # a kill between the two renames below
        old.rename(out)
    _refuse_foreign(out)
    building = Bundle(out.with_name(f".{out.name}.building"))
    if building.folder.exists():  # of a killed export
        shutil.rmtree(building.folder)
    building.folder.mkdir(parents=True)
    try:
        content = _fill(building, places, batch_size, gallery)
        limits = {"batch_size": batch_size, "max_pixels": max_pixels}
        building.seal({"scale": places.scale, **limits, **content})
        shutil.rmtree(old, ignore_errors=True)
        if out.exists():
            out.rename(old)
        building.folder.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(building.folder, ignore_errors=True)


def _refuse_foreign(out: Path) -> None:
    """Export replaces the whole folder, so it must not hold anything else."""
    if out.is_file():
        raise ParameterError(f"--out {out} is a file.", "Name a folder.")
    if out.is_dir() and any(out.iterdir()) and not (out / DESCRIPTION).is_file():
        raise ParameterError(
            f"--out {out} holds other files, and the whole folder would be replaced.",
            "Name a new folder, or that of an older bundle.",
        )


def _fill(bundle: Bundle, places: Places, batch_size: int, gallery: Path | None) -> Json:
    """Write all files but bundle.json; returns their part of bundle.json."""
    cpu = torch.device("cpu")
    detection_path, classification_path = (
        places.checkpoint(name) for name in ("detection", "classification")
    )
    trained_detector = detector.load(detection_path, cpu)
    trained = classifier.load(classification_path, cpu, manifest.class_table_hash(places.classes))
    own_sha256 = files.sha256_of(classification_path)
    fitted = calibration.load(places.calibration, own_sha256)
    classes = manifest.read_classes(places.classes)
    if gallery is not None:
        _check_gallery(gallery, own_sha256)
    graphs.write_detection(
        trained_detector,
        bundle.detection_onnx,
        {"confidence": fitted.detection_confidence, "iou": fitted.detection_iou},
    )
    more = {
        "temperature": fitted.temperature,
        "refusal_score": fitted.score,
        "refusal_threshold": fitted.threshold,
        "class_table": classes[["mapping_code", "drug_name", "edi_codes"]].to_dict("records"),
        "checkpoint_sha256": own_sha256,
    }
    graphs.write_classification(trained, bundle.classification_onnx, more)
    graphs.write_timm(trained, bundle.timm_dir, [str(c) for c in classes["mapping_code"]])
    _copy(places, bundle, gallery)
    crops, frames = CropStore(places.crops("val")), FrameStore(places.frames("val"))
    some = [frames.decode(i) for i in range(min(len(frames), batch_size))]
    graph = OnnxClassifier(bundle.classification_onnx, 0)
    classification = graphs.compare_classifiers(trained, graph, crops, batch_size)
    detection = graphs.compare_detectors(
        trained_detector, OnnxDetector(bundle.detection_onnx, 0), some
    )
    _check_parity(classification, detection)
    parity = {"classification": classification, "detection": detection}
    return {"classes": len(classes), "parity": parity}


def _check_parity(classification: Json, detection: Json) -> None:
    alike = (
        classification["same_top1"] == 1.0
        and classification["largest_logit_difference"] <= MOST_LOGIT_DIFFERENCE
        and detection["largest_score_difference"] <= MOST_SCORE_DIFFERENCE
        and detection["largest_box_difference_px"] <= MOST_BOX_DIFFERENCE_PX
    )
    if not alike:
        raise MachineError(
            f"The exported graphs differ from torch: {classification}, {detection}.",
            "Nothing was written. Install the versions of requirements.txt and export again.",
        )


def _copy(places: Places, bundle: Bundle, gallery: Path | None) -> None:
    wanted = {
        bundle.detection_pt: places.checkpoint("detection"),
        bundle.classification_pt: places.checkpoint("classification"),
        bundle.calibration: places.calibration,
        bundle.classes: places.classes,
        bundle.model_card: places.model_card,
    }
    if gallery is not None:
        wanted[bundle.gallery] = gallery
    for target, source in wanted.items():
        with files.opened(source, _AGAIN, CheckpointError, files.LARGEST_MODEL_BYTES) as file:
            files.write_bytes(target, file.read())


def _check_gallery(path: Path, classification_sha256: str) -> None:
    cure = f"Remove {path} and enrol the photos again."
    tree = files.read_sealed_json(path, cure, CheckpointError)
    if tree.get("classification_sha256") != classification_sha256:
        raise CheckpointError(f"{path} was made with another classifier.", cure)


_AGAIN = "Make it again: dvc repro"
