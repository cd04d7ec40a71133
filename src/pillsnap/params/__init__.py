"""params.yaml, typed and frozen: the only place where the pipeline's numbers come from."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError, model_validator

from pillsnap import files
from pillsnap.errors import ParameterError
from pillsnap.params import refusals
from pillsnap.params.paths import located

DATA_ROOT_VARIABLE = "PILLSNAP_DATA_ROOT"
LR_BATCH_SIZE = 32  # that scales.<scale>.lr was chosen for
LARGEST_SEED = 2**32 - 1  # NumPy's; Ultralytics adds the number of the process before it

Whole = Annotated[int, Strict()]  # neither true nor 2.0
Real = Annotated[float, Strict()]
Share = Annotated[Real, Field(ge=0.0, le=1.0)]
Positive = Annotated[Whole, Field(gt=0)]
Count = Annotated[Whole, Field(ge=0)]
Rate = Annotated[Real, Field(gt=0.0)]
Amount = Annotated[Real, Field(ge=0.0)]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$")]


class Section(BaseModel):
    """A part of params.yaml: frozen, and a key it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataParams(Section):
    """Where the photos are, and in which form."""

    format: Literal["aihub", "yolo", "coco", "imagefolder"]
    root: str | None


class ScaleParams(Section):
    """What differs between the demo and stages 1 to 4."""

    root: str | None
    samples: Positive
    classes: Annotated[Whole, Field(ge=2)]
    combination_share: Share
    val_share: Annotated[Real, Field(gt=0.0, lt=1.0)]
    min_train_per_class: Positive
    min_val_per_class: Positive
    test_unknown_pills: Count
    detection_single_frames: Count
    evaluation_frames: Positive
    crop_px: Annotated[Whole, Field(ge=32, le=1024)]
    frame_px: Annotated[Whole, Field(ge=64)]
    classifier: str
    classifier_weights: str | None
    image_px: Annotated[Whole, Field(ge=32, le=1024)]
    repeats: Positive
    drop_path: Annotated[Real, Field(ge=0.0, lt=1.0)]
    detector: Annotated[str, Field(pattern=r"^yolo(11|26)[nsmlx]$")]
    detector_weights: str | None
    detection_px: Annotated[Whole, Field(ge=64, multiple_of=32)]
    lr: Rate
    detection_lr: Annotated[Real, Field(gt=0.0, le=1.0)]  # Ultralytics takes no more


class DemoParams(Section):
    """What `run.py demo` draws."""

    classes: Annotated[Whole, Field(ge=5)]  # combinations have up to 4 pills
    unknown_classes: Positive
    unknown_twins: Count
    unknown_photos: Annotated[Whole, Field(ge=1, le=18)]  # background, light and side
    phone_photos: Annotated[Whole, Field(ge=0, le=18)]  # turns
    photos_per_group: Annotated[Whole, Field(ge=1, le=72)]  # camera positions
    combination_folders: Positive
    test_combination_folders: Positive
    frame_width_px: Annotated[Whole, Field(ge=244)]
    frame_height_px: Annotated[Whole, Field(ge=320)]
    noise: Amount


class BuildManifestParams(Section):
    """How labels are read, and how many classes and pills are held out as unknown."""

    num_workers: Count
    left_out_classes: Count
    val_unknown_pills: Count


class ValidateParams(Section):
    """How photos are checked and cut."""

    engine: Annotated[str, Field(pattern=r"^(local|(dask|ray)://[^\s/]+:[0-9]+)$")]
    num_workers: Count
    max_rejected: Share
    crop_margin: Annotated[Real, Field(ge=0.0, le=1.0)]
    jpeg_quality: Annotated[Whole, Field(ge=1, le=100)]
    near_duplicate_distance: Annotated[Whole, Field(ge=0, le=64)]
    max_pixels: Positive


class TrainParams(Section):
    """What both trainings share."""

    epochs: Positive
    batch_size: Positive | Literal["auto"]
    batch_size_most: Annotated[Whole, Field(ge=8)]
    detection_batch_size: Positive
    devices: Positive
    lr: Rate | None
    mixed_precision: Literal["auto", "bf16", "fp16", "off"]
    compile: Literal["auto", "on", "off"]
    deterministic: bool
    num_workers: Count | Literal["auto"]
    device: Device


class TrainDetectionParams(Section):
    """Recipe of the detector."""

    lr: Annotated[Real, Field(gt=0.0, le=1.0)] | None
    warmup_epochs: Amount
    weight_decay: Share  # Ultralytics takes no more
    translate: Share
    scale: Share
    hue: Share
    saturation: Share
    value: Share


class TrainClassificationParams(Section):
    """Recipe of the classifier."""

    warmup_epochs: Amount
    weight_decay: Amount
    label_smoothing: Annotated[Real, Field(ge=0.0, lt=1.0)]
    ema_decay: Annotated[Real, Field(ge=0.0, lt=1.0)]
    clip_grad_norm: Rate
    rotate_degrees: Annotated[Real, Field(ge=0.0, le=180.0)]
    scale: Annotated[Real, Field(ge=0.0, lt=1.0)]
    translate: Share
    brightness: Share
    contrast: Share
    temperature_shift: Share
    blur: Share
    noise: Amount


class EvaluateParams(Section):
    """How the checkpoints are measured."""

    device: Device
    batch_size: Positive
    detection_confidence: Share
    detection_iou: Share
    match_iou: Share
    known_recall: Share
    set_risk: Share
    imprint_pills: Count
    bootstrap_rounds: Positive
    worst_classes: Positive


class TargetParams(Section):
    """The goals."""

    classification_top1: Share
    detection_map50: Share
    training_minutes: Rate


class Params(Section):
    """All of params.yaml, with the knobs left null resolved by the chosen scale."""

    scale: str
    seed: Count
    data: DataParams
    scales: dict[str, ScaleParams]
    demo: DemoParams
    build_manifest: BuildManifestParams
    validate_: Annotated[ValidateParams, Field(alias="validate")]
    train: TrainParams
    train_detection: TrainDetectionParams
    train_classification: TrainClassificationParams
    evaluate: EvaluateParams
    targets: TargetParams

    @model_validator(mode="after")
    def _scale_exists(self) -> "Params":
        if self.scale not in self.scales:
            raise ValueError(f"scale is {self.scale!r}, known scales are {', '.join(self.scales)}")
        return self

    @model_validator(mode="after")
    def _seed_fits_all_processes(self) -> "Params":
        if self.seed > (largest := LARGEST_SEED - self.train.devices):
            raise ValueError(f"seed is {self.seed}: must be at most {largest:_}")
        return self

    @model_validator(mode="after")
    def _batches_can_be_shared_out(self) -> "Params":
        train, least = self.train, 2 * self.train.devices
        if self.batch_size < least:
            raise ValueError(
                f"train.batch_size is {self.batch_size}: batch norm needs {least} at least "
                f"with train.devices {train.devices}"
            )
        if train.detection_batch_size % train.devices:
            raise ValueError(
                f"train.detection_batch_size is {train.detection_batch_size}: must be a multiple "
                f"of train.devices, {train.devices}"
            )
        return self

    @property
    def batch_size(self) -> int:
        """Crops per step; for auto, before a GPU was tried, what it means on a CPU."""
        return LR_BATCH_SIZE if self.train.batch_size == "auto" else self.train.batch_size

    def scaled_lr(self, batch_size: int) -> float:
        """The scale's learning rate for another batch size, by the square root of their ratio."""
        return self.at_scale.lr * math.sqrt(batch_size / LR_BATCH_SIZE)

    @property
    def at_scale(self) -> ScaleParams:
        """The chosen scale's numbers."""
        return self.scales[self.scale]

    @property
    def lr(self) -> float:
        """Peak learning rate of the classifier."""
        return self.train.lr or self.at_scale.lr

    @property
    def detection_lr(self) -> float:
        """Peak learning rate of the detector."""
        return self.train_detection.lr or self.at_scale.detection_lr

    @property
    def artifacts_dir(self) -> Path:
        """Folder of manifests, checkpoints, figures, relative to the repository."""
        return Path("artifacts") / self.scale

    @property
    def data_dir(self) -> Path:
        """Folder of crops and frames, relative to the repository."""
        return Path("data") / self.scale

    @property
    def data_format(self) -> str:
        """The form of the photo set; the demo's own is AI Hub's whatever data.format says."""
        return "aihub" if self._is_drawn else self.data.format

    def data_root(self) -> Path:
        """The photo set: the environment variable, else data.root, else the scale's root."""
        if not (root := self._named_root):
            raise refusals.no_root(self.scale)
        path = located(root, ParameterError)
        if not (path / "train" if self._is_drawn else path).is_dir():
            raise refusals.no_photos(path, self._is_drawn)
        return path

    @property
    def _named_root(self) -> str | None:
        named = os.environ.get(DATA_ROOT_VARIABLE, "").strip()
        return named or self.data.root or self.at_scale.root

    @property
    def _is_drawn(self) -> bool:
        return self.scale == "demo" and self._named_root == self.at_scale.root


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml; ParameterError names each key that cannot be used."""
    return parse(read(path), path)


def read(path: Path) -> dict[str, Any]:
    """The plain mapping of a params.yaml, unchecked."""
    cure = "Run it in the root of the repository. Damaged: pillsnap train --back restores it."
    return files.read_yaml(path, cure, ParameterError)


def at(tree: Any, key: str) -> Any:
    """The value at a dotted key ("train.lr"); None where there is none."""
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def parse(tree: dict[str, Any], path: Path) -> Params:
    """Check a mapping as `load` does."""
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        raise refusals.refusal(error, tree, path) from None
