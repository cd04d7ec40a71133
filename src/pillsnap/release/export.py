"""`pillsnap export`: the trained models as a release bundle, compared with torch first."""

import shutil
from dataclasses import asdict
from pathlib import Path

import torch

from pillsnap import files
from pillsnap.classification import classifier
from pillsnap.dataset import manifest
from pillsnap.dataset.crops import CropStore
from pillsnap.dataset.frames import FrameStore
from pillsnap.detection import detector, ultralytics_file
from pillsnap.errors import CheckpointError, MachineError
from pillsnap.files import Json
from pillsnap.places import MODELS, Places
from pillsnap.recognition import calibration
from pillsnap.release import components, graphs
from pillsnap.release.bundle import Bundle, check_out
from pillsnap.release.onnx_models import OnnxClassifier, OnnxDetector

AGAIN = "Make it again: dvc repro"
MOST_LOGIT_DIFFERENCE = 1e-3  # far below the difference between two classes
MOST_SCORE_DIFFERENCE = 1e-3
MOST_BOX_DIFFERENCE_PX = 0.1  # of the detector's input


def export(
    places: Places, out: Path, batch_size: int, max_pixels: int, gallery: Path | None
) -> None:
    """Write the release bundle, which replaces `out` when complete; MachineError when a graph
    differs from torch, ParameterError if `out` holds anything but a bundle. `batch_size` and
    `max_pixels` are limits for its use, `gallery` is the file of enrolled drugs to include."""
    out = out.resolve()
    old = out.with_name(f".{out.name}.replaced")
    building = Bundle(out.with_name(f".{out.name}.building"))
    with files.alone(out.parent):
        if old.is_dir() and not out.exists():  # a kill between the two renames below
            old.rename(out)
        check_out(out)
        files.remove_folder(building.folder)  # of a killed export
        building.folder.mkdir(parents=True)
        try:
            content = _fill(building, places, batch_size, gallery)
            limits = {"batch_size": batch_size, "max_pixels": max_pixels}
            building.seal({"scale": places.scale, **limits, **content})
            files.remove_folder(old)
            if out.exists():
                out.rename(old)
            building.folder.rename(out)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(building.folder, ignore_errors=True)


def _fill(bundle: Bundle, places: Places, batch_size: int, gallery: Path | None) -> Json:
    """Write all files but bundle.json; returns their part of bundle.json."""
    cpu = torch.device("cpu")
    detection_path, classification_path = map(places.checkpoint, MODELS)
    trained_detector = detector.load(detection_path, cpu)
    trained = classifier.load(classification_path, cpu, manifest.class_table_hash(places.classes))
    own_sha256 = files.sha256_of(classification_path)
    fitted = calibration.load(places.calibration, own_sha256)
    classes = manifest.read_classes(places.classes)
    if gallery is not None:
        cure = f"Remove {gallery} and enroll the photos again."
        drugs = files.read_sealed_json(gallery, cure, CheckpointError)
        if drugs.get("classification_sha256") != own_sha256:
            raise CheckpointError(f"{gallery} was made with another classifier.", cure)
    operating_point = {"confidence": fitted.detection_confidence, "iou": fitted.detection_iou}
    graphs.write_detection(trained_detector, bundle.detection_onnx, operating_point)
    use = {
        "temperature": fitted.temperature,
        "refusal_score": fitted.score,
        "refusal_threshold": fitted.threshold,
        "operating_points": [asdict(point) for point in fitted.operating_points],
        "class_table": classes[["mapping_code", "drug_name", "edi_codes"]].to_dict("records"),
        "checkpoint_sha256": own_sha256,
    }
    graphs.write_classification(trained, bundle.classification_onnx, use)
    card = files.read_bytes(places.model_card, AGAIN, CheckpointError).decode("utf-8", "replace")
    graphs.write_timm(trained, bundle.timm_dir, [str(c) for c in classes["mapping_code"]], card)
    ultralytics_file.write(detection_path, bundle.ultralytics_pt)
    graphs.write_ultralytics(trained_detector, bundle.ultralytics_onnx)
    _copy(places, bundle, gallery)
    packages = components.installed()
    files.write_bytes(bundle.sbom, components.sbom(packages))
    files.write_text(bundle.licences, components.licences(packages))
    crops, frames = CropStore(places.crops("val")), FrameStore(places.frames("val"))
    some = [frames.decode(i) for i in range(min(len(frames), batch_size))]
    graph = OnnxClassifier(bundle.classification_onnx, 0)
    classification = graphs.compare_classifiers(trained, graph, crops, batch_size)
    boxes = OnnxDetector(bundle.detection_onnx, 0)
    detection = graphs.compare_detectors(trained_detector, boxes, some)
    if (
        classification["same_top1"] < 1
        or classification["largest_logit_difference"] > MOST_LOGIT_DIFFERENCE
        or detection["largest_score_difference"] > MOST_SCORE_DIFFERENCE
        or detection["largest_box_difference_px"] > MOST_BOX_DIFFERENCE_PX
    ):
        fact = f"The exported graphs differ from torch: {classification}, {detection}."
        cure = "Nothing was written. Install the versions of requirements.txt and export again."
        raise MachineError(fact, cure)
    parity = {"classification": classification, "detection": detection}
    return {"classes": len(classes), "parity": parity}


def _copy(places: Places, bundle: Bundle, gallery: Path | None) -> None:
    wanted = {
        bundle.detection_pt: places.checkpoint("detection"),
        bundle.classification_pt: places.checkpoint("classification"),
        bundle.calibration: places.calibration,
        bundle.classes: places.classes,
        bundle.model_card: places.model_card,
        **({bundle.gallery: gallery} if gallery else {}),
    }
    for target, source in wanted.items():
        with files.opened(source, AGAIN, CheckpointError, files.LARGEST_MODEL_BYTES) as file:
            files.write_bytes(target, file.read())
