"""The trained models as ONNX graphs and as a timm folder, and the graphs' difference to torch."""

import json
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import safetensors.torch
import torch
from torch import nn

from pillsnap import files
from pillsnap.arrays import Pixels
from pillsnap.classification import classifier
from pillsnap.classification.classifier import TorchClassifier
from pillsnap.dataset.crops import CropStore
from pillsnap.detection import ultralytics_file
from pillsnap.detection.detector import TorchDetector
from pillsnap.detection.letterbox import Letterbox
from pillsnap.files import Json
from pillsnap.release.onnx_models import METADATA_KEY, OnnxClassifier, OnnxDetector
from pillsnap.training import checkpoints

OPSET = 17
HUB_HEADER = "---\nlibrary_name: timm\nlicense: agpl-3.0\ntags:\n- image-classification\n---\n"


class DetectionGraph(nn.Module):
    """Letterboxed frames -> [n, 5, anchors]: x, y, width, height, score. Frames are uint8
    [n, h, w, 3], or float32 in 0..1 [n, 3, h, w]: the input of Ultralytics' own ONNX."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """uint8 is scaled to 0..1 inside."""
        if frames.dtype == torch.uint8:
            frames = frames.permute(0, 3, 1, 2).float() / 255
        answer = self.model(frames)
        predicted: torch.Tensor = answer[0] if isinstance(answer, (tuple, list)) else answer
        return predicted


class ClassificationGraph(nn.Module):
    """uint8 crops [n, image_px, image_px, 3] -> logits [n, classes], embeddings [n, d]."""

    def __init__(self, model: nn.Module, normalise: nn.Module) -> None:
        super().__init__()
        self.model, self.normalise = model, normalise

    def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised inside."""
        return classifier.embed(self.model, self.normalise(crops))


def write_detection(detector: TorchDetector, path: Path, more: Json) -> None:
    """The detector's graph; its metadata is the checkpoint's configuration and `more`."""
    example = torch.zeros((2, 128, 96, 3), dtype=torch.uint8)
    axes = {"frames": {0: "n", 1: "height", 2: "width"}, "boxes": {0: "n", 2: "anchors"}}
    _write_detector(detector, example, path, axes, _described({**detector.config, **more}))


def write_ultralytics(detector: TorchDetector, path: Path) -> None:
    """The detector's graph with the input, output and metadata of Ultralytics' own export."""
    example, described = torch.zeros((2, 3, 128, 96)), ultralytics_file.metadata(detector.config)
    axes = {"images": {0: "n", 2: "height", 3: "width"}, "output0": {0: "n", 2: "anchors"}}
    _write_detector(detector, example, path, axes, described)


def _write_detector(detector: TorchDetector, example: torch.Tensor, *rest: Any) -> None:
    """Ultralytics' head caches its anchors for one size unless it exports."""
    heads = [module for module in detector._model.modules() if hasattr(module, "export")]
    for head in heads:
        head.export, head.dynamic, head.format = True, True, "onnx"  # type: ignore[assignment]
    try:
        _write(DetectionGraph(detector._model), example, *rest)
    finally:
        for head in heads:
            head.export, head.format = False, None  # type: ignore[assignment]


def write_classification(model: TorchClassifier, path: Path, more: Json) -> None:
    """The classifier's graph; its metadata is the checkpoint's configuration and `more`."""
    graph = ClassificationGraph(model._model, model._normalise).eval()
    side = int(model.config["image_px"])
    axes = {name: {0: "n"} for name in ("crops", "logits", "embeddings")}
    example = torch.zeros((2, side, side, 3), dtype=torch.uint8)
    _write(graph, example, path, axes, _described({**model.config, **more}))


def write_timm(model: TorchClassifier, folder: Path, codes: Sequence[str], card: str) -> None:
    """config.json and model.safetensors as `timm.create_model("local-dir:<folder>")` takes them,
    and the model card as the Hugging Face hub shows it."""
    config, side = model.config, int(model.config["image_px"])
    weights = {name: tensor.contiguous() for name, tensor in model._model.state_dict().items()}
    count = {"num_classes": config["classes"]}
    scaling = {"fixed_input_size": False, "interpolation": "bilinear", "crop_pct": 1.0}
    normalisation = {"mean": config["mean"], "std": config["std"]}
    pretrained = {
        "architecture": config["architecture"],
        **count,
        "num_features": model._model.num_features,
        "label_names": list(codes),
        "pretrained_cfg": {**count, "input_size": [3, side, side], **scaling, **normalisation},
    }
    files.write_text(folder / "config.json", json.dumps(pretrained, indent=2) + "\n")
    files.write_text(folder / "README.md", HUB_HEADER + card)
    sealed = {classifier.SAFETENSORS_HASH: checkpoints.weights_hash(weights)}
    files.write_bytes(folder / "model.safetensors", safetensors.torch.save(weights, sealed))


def compare_classifiers(
    model: TorchClassifier, graph: OnnxClassifier, store: CropStore, batch_size: int
) -> Json:
    """Number of crops, share with the same first class, largest differences of the outputs."""
    equal, largest = 0, np.zeros(2)
    for start in range(0, len(store), batch_size):
        end = min(start + batch_size, len(store))
        crops = np.stack([store.decode(row) for row in range(start, end)])
        outputs = [model.classify(crops), graph.classify(crops)]
        first, second = (logits.argmax(axis=1) for logits, _ in outputs)
        equal += int((first == second).sum())
        largest = np.maximum(largest, [np.abs(a - b).max() for a, b in zip(*outputs, strict=True)])
    return {
        "crops": len(store),
        "same_top1": equal / len(store),
        "largest_logit_difference": float(largest[0]),
        "largest_embedding_difference": float(largest[1]),
    }


@torch.inference_mode()
def compare_detectors(
    detector: TorchDetector, graph: OnnxDetector, frames: Sequence[Pixels]
) -> Json:
    """Over all anchors of some frames: the largest differences of boxes (pixels of the detector's
    input) and scores, before non-maximum suppression."""
    torch_graph, box_px, score = DetectionGraph(detector._model), 0.0, 0.0
    for frame in frames:
        fit = Letterbox.of(frame.shape[1], frame.shape[0], detector.config["image_px"])
        batch = fit.apply(frame)[None]
        expected = torch_graph(torch.from_numpy(batch).to(detector.device)).cpu().numpy()
        error = np.abs(expected - graph.raw(batch))
        box_px, score = max(box_px, float(error[:, :4].max())), max(score, float(error[:, 4].max()))
    return {
        "frames": len(frames),
        "largest_box_difference_px": box_px,
        "largest_score_difference": score,
    }


def _described(metadata: Json) -> dict[str, str]:
    return {METADATA_KEY: json.dumps(metadata, ensure_ascii=False, sort_keys=True)}


def _write(
    graph: nn.Module,
    example: torch.Tensor,
    path: Path,
    axes: dict[str, dict[int, str]],
    metadata: dict[str, str],
) -> None:
    """`axes`: the input's and the outputs' names, each with its dimensions of any length."""
    name, *outputs = axes
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The exporter that torch 2.15 prefers takes minutes where the older one takes a second.
        warnings.simplefilter("ignore")
        target = Path(folder) / "model.onnx"
        with torch.no_grad():
            torch.onnx.export(
                graph.eval().cpu(), (example,), str(target), dynamo=False, opset_version=OPSET,
                input_names=[name], output_names=outputs, dynamic_axes=axes,
            )  # fmt: skip
        model = onnx.load(target)
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    files.write_bytes(path, model.SerializeToString(deterministic=True))
