"""`pillsnap export`: the trained models as a release bundle, compared with torch before it counts."""

import io
import json
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn

from pillsnap import atomic, calibration, checkpoints, classifier, detector, manifest
from pillsnap.augment import to_input
from pillsnap.bundle import Bundle
from pillsnap.classifier import Classifier
from pillsnap.crops import CropStore
from pillsnap.detector import Detector
from pillsnap.errors import MachineError
from pillsnap.letterbox import Letterbox
from pillsnap.onnx_models import METADATA_KEY, OnnxClassifier, OnnxDetector
from pillsnap.places import Places

Json = dict[str, Any]
Pixels = NDArray[np.uint8]

OPSET = 17
MOST_SCORE_ERROR = 1e-3  # of a box or a logit, relative to the largest: far under what decides
MOST_BOX_ERROR_PX = 0.1  # of the detector's input


@dataclass(frozen=True)
class ExportOptions:
    """What `pillsnap export` was asked for."""

    out: Path
    int8: bool
    batch_size: int
    max_pixels: int
    gallery: Path | None  # enrolled drugs to put beside the models


class DetectionGraph(nn.Module):
    """uint8 letterboxed frames [n, h, w, 3] -> [n, 5, anchors]: centre x, y, width, height, score."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        answer = self.model(frames.permute(0, 3, 1, 2).float() / 255)
        predicted: torch.Tensor = answer[0] if isinstance(answer, (tuple, list)) else answer
        return predicted


class ClassificationGraph(nn.Module):
    """uint8 crops [n, image_px, image_px, 3] -> logits [n, classes], embeddings [n, d]."""

    def __init__(self, model: nn.Module, normalise: nn.Module) -> None:
        super().__init__()
        self.model, self.normalise = model, normalise

    def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return classifier.embed(self.model, self.normalise(crops))


def export(places: Places, options: ExportOptions) -> Json:
    """Write the bundle and return its description; MachineError when a graph disagrees with torch.

    It is built beside `options.out` and takes its place when all of it stands.
    """
    building = Bundle(options.out.with_name(f".{options.out.name}.building"))
    shutil.rmtree(building.folder, ignore_errors=True)
    building.folder.mkdir(parents=True)
    try:
        description = _fill(building, places, options)
        building.seal(description)
        shutil.rmtree(options.out, ignore_errors=True)
        building.folder.rename(options.out)
    finally:
        shutil.rmtree(building.folder, ignore_errors=True)
    return description


def _fill(bundle: Bundle, places: Places, options: ExportOptions) -> Json:
    device = torch.device("cpu")
    table_hash = manifest.class_table_hash(places.classes)
    finder = detector.load(places.checkpoint("detection"), device)
    namer = classifier.load(places.checkpoint("classification"), device, table_hash)
    own_sha256 = atomic.sha256_of(places.checkpoint("classification"))
    fitted = calibration.load(places.calibration, own_sha256)
    classes = manifest.read_classes(places.classes)
    write_detection(finder, bundle.detection_onnx, {"confidence": fitted.detection_confidence,
                                                   "iou": fitted.detection_iou})
    names = classes[["mapping_code", "drug_name", "edi_codes"]].to_dict("records")
    thresholds = {"temperature": fitted.temperature, "score": fitted.score,
                  "threshold": fitted.threshold}
    more = {**thresholds, "class_table": names, "checkpoint_sha256": own_sha256}
    write_classification(namer, bundle.classification_onnx, more)
    write_timm(namer, bundle.timm_dir, [str(code) for code in classes["mapping_code"]])
    _copy(places, bundle, options.gallery)
    crops, frames = places.crops("val"), places.frames("val")
    some = [frames.decode(i) for i in range(min(len(frames), options.batch_size))]
    parity = {
        "classification": compare_names(namer, OnnxClassifier(bundle.classification_onnx, 0), crops,
                                        options.batch_size),
        "detection": compare_boxes(finder, OnnxDetector(bundle.detection_onnx, 0), some),
    }
    return {
        "scale": places.scale,
        "batch_size": options.batch_size,
        "max_pixels": options.max_pixels,
        "classes": len(classes),
        "parity": parity,
    }
