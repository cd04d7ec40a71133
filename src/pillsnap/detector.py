"""The detector: a YOLO of Ultralytics with one class, "pill".

The only module that imports ultralytics. Its trainer is subclassed where 8.4 is not exact: samples
are keyed by (seed, epoch, index), and a full-precision checkpoint is kept at every epoch, so that
an interrupted training ends with the weights of one that was not.
"""

import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before the import: without these, importing looks up hosts (23 s offline) and may install packages.
os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_VERBOSE", "false")
os.environ.setdefault("ULTRALYTICS_SAFE_LOAD", "1")  # a .pt is a pickle: never run what it holds
os.environ.setdefault("YOLO_CONFIG_DIR", str(Path(".checkpoints").resolve()))

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Sampler
from ultralytics.data.dataset import YOLODataset
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import SETTINGS
from ultralytics.utils.downloads import attempt_download_asset
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.torch_utils import unwrap_model

from pillsnap import boxes, checkpoints
from pillsnap.boxes import Boxes
from pillsnap.checkpoints import WorkFolder
from pillsnap.errors import CheckpointError, MachineError
from pillsnap.interrupts import Interrupt, deferred
from pillsnap.live import Recorder
from pillsnap.params import TrainDetectionParams
from pillsnap.run_log import RunLog

Frame = NDArray[np.uint8]
Scores = NDArray[np.float32]

GREY = 114  # Ultralytics' letterbox colour
STRIDE = 32
MAX_PILLS = 100  # boxes kept per frame
METRIC_NAMES = {
    "precision": "metrics/precision(B)",
    "recall": "metrics/recall(B)",
    "map50": "metrics/mAP50(B)",
    "map50_95": "metrics/mAP50-95(B)",
}


@dataclass(frozen=True)
class Plan:
    """What a training run is: everything but the data."""

    architecture: str
    weights: str | None  # None: from scratch | hub | path of an Ultralytics .pt
    image_px: int
    epochs: int
    batch_size: int
    lr: float
    recipe: TrainDetectionParams
    seed: int
    device: torch.device
    bf16: bool
    compile: bool
    num_workers: int


@dataclass(frozen=True)
class Trained:
    """The averaged weights of the best epoch and its figures."""

    weights: dict[str, torch.Tensor]
    metrics: dict[str, float]
    epoch: int


class Detector:
    """A trained detector, ready to find pills in frames."""

    def __init__(
        self, weights: dict[str, torch.Tensor], config: dict[str, Any], device: torch.device
    ) -> None:
        self.config = config
        self.device = device
        model = DetectionModel(f"{config['architecture']}.yaml", nc=1, verbose=False)
        model.load_state_dict(weights)
        if hasattr(model, "end2end"):
            model.end2end = False  # boxes of both kinds of head go through the same suppression
        self._model = model.float().fuse(verbose=False).to(device).eval()

    @torch.inference_mode()
    def detect(
        self, frames: Sequence[Frame], confidence: float, iou: float
    ) -> list[tuple[Boxes, Scores]]:
        """Boxes [n, 4] in pixels of each frame and scores [n], best first.

        `frames` are uint8 RGB [h, w, 3] of any sizes; those of equal size share a batch.
        """
        found: dict[int, tuple[Boxes, Scores]] = {}
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for i, frame in enumerate(frames):
            by_shape.setdefault(frame.shape, []).append(i)
        for shape, members in by_shape.items():
            fit = Letterbox.of(shape[1], shape[0], self.config["image_px"])
            batch = np.stack([fit.apply(frames[i]) for i in members])
            inputs = torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2).float() / 255
            predicted = self._model(inputs)
            kept = non_max_suppression(
                predicted, confidence, iou, max_det=MAX_PILLS, nc=1, max_time_img=10.0
            )
            for i, rows in zip(members, kept, strict=True):
                table = rows.cpu().numpy().astype(np.float32)
                found[i] = (fit.undo(table[:, :4]), table[:, 4])
        return [found[i] for i in range(len(frames))]


@dataclass(frozen=True)
class Letterbox:
    """A frame scaled to fit, centred on grey, sides multiples of the stride."""

    width: int
    height: int
    scale: float
    left: int
    top: int
    out_width: int
    out_height: int

    @classmethod
    def of(cls, width: int, height: int, image_px: int) -> "Letterbox":
        """The fit of a frame of that size to a longest side of `image_px`."""
        scale = image_px / max(width, height)
        inner_width, inner_height = round(width * scale), round(height * scale)
        out_width, out_height = (-(-side // STRIDE) * STRIDE for side in (inner_width, inner_height))
        left, top = (out_width - inner_width) // 2, (out_height - inner_height) // 2
        return cls(width, height, scale, left, top, out_width, out_height)

    def apply(self, frame: Frame) -> Frame:
        """uint8 [out_height, out_width, 3]."""
        size = (round(self.width * self.scale), round(self.height * self.scale))
        method = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_LINEAR
        canvas = np.full((self.out_height, self.out_width, 3), GREY, np.uint8)
        inner = cv2.resize(frame, size, interpolation=method)
        canvas[self.top : self.top + size[1], self.left : self.left + size[0]] = inner
        return canvas

    def undo(self, found: Boxes) -> Boxes:
        """Boxes of the letterboxed picture in pixels of the frame, cut to it."""
        moved = (found - np.array([self.left, self.top] * 2, np.float32)) / np.float32(self.scale)
        return boxes.clip(moved, self.width, self.height)


def load(path: Path, device: torch.device) -> Detector:
    """Load a published checkpoint."""
    weights, config = checkpoints.load_published(path)
    if config.get("kind") != "detection":
        raise CheckpointError(
            f"{path} holds a {config.get('kind')} model, not a detector.",
            "Give <scale>_detection_best.pt.",
        )
    return Detector(weights, config, device)


def train(
    plan: Plan, data_dir: Path, folder: WorkFolder, live_dir: Path, log: RunLog
) -> Trained:
    """Train on `data_dir` (a YOLO data set), keep the average of the epoch best on its val.

    Goes on from the folder's checkpoint when there is one.
    """
    saved, damaged = folder.load()
    for line in damaged:
        log.warning(line)
    resumes = 0 if saved is None else saved["resumes"] + 1
    recorder = Recorder(live_dir, log, plan.epochs, [] if saved is None else saved["history"])
    if saved is not None:
        log.info(f"resuming after epoch {saved['epoch']}")
    log.start(plan.epochs, len(recorder.history))
    best = saved["best"] if saved is not None else {}
    if len(recorder.history) < plan.epochs:
        with deferred() as interrupt:
            run = _Run(plan, data_dir.resolve(), folder, recorder, log, interrupt, saved, resumes)
            trainer = _trainer(run)
            _fit(trainer, plan)
            best = trainer.kept
    recorder.finish(resumed=resumes, best_epoch=best["epoch"], batch_size=plan.batch_size)
    return Trained(best["weights"], best["metrics"], best["epoch"])


def pretrained_path(architecture: str, weights: str | None) -> str | None:
    """The .pt to start from; "hub" fetches Ultralytics' own, a path is taken as it is."""
    cure = (
        "Fetch it where there is a network and set scales.<scale>.detector_weights to its path; "
        "null trains from scratch."
    )
    if weights is None:
        return None
    if weights != "hub":
        if not Path(weights).is_file():
            raise CheckpointError(f"Weights {weights} are not here.", cure)
        return weights
    os.environ.pop("YOLO_OFFLINE", None)  # asked for: the one moment a network is wanted
    target = Path(os.environ["YOLO_CONFIG_DIR"]) / f"{architecture}.pt"
    try:
        return str(attempt_download_asset(target, retry=0))
    except Exception as error:
        reason = str(error).splitlines()[0][:160]
        raise MachineError(f"{architecture}.pt could not be fetched: {reason}", cure) from None
    finally:
        os.environ["YOLO_OFFLINE"] = "true"


@dataclass
class _Run:
    """What the trainer needs beside Ultralytics' own arguments."""

    plan: Plan
    data_dir: Path
    folder: WorkFolder
    recorder: Recorder
    log: RunLog
    interrupt: Interrupt
    saved: dict[str, Any] | None
    resumes: int


def _trainer(run: _Run) -> "_PillTrainer":
    plan, recipe = run.plan, run.plan.recipe
    SETTINGS.update({key: False for key, value in SETTINGS.items() if value is True})
    overrides = {
        "model": f"{plan.architecture}.yaml",
        "pretrained": pretrained_path(plan.architecture, plan.weights) or False,
        "data": str(run.data_dir / "dataset.yaml"),
        "imgsz": plan.image_px,
        "epochs": plan.epochs,
        "patience": plan.epochs,
        "batch": plan.batch_size,
        "nbs": plan.batch_size,  # one optimizer step per batch: 64 starves short trainings
        "optimizer": "AdamW",  # named, because "auto" ignores lr0
        "lr0": plan.lr,
        "lrf": 0.01,
        "cos_lr": True,
        "momentum": 0.9,
        "weight_decay": recipe.weight_decay,
        "warmup_epochs": recipe.warmup_epochs,
        "warmup_bias_lr": 0.0,
        "translate": recipe.translate,
        "scale": recipe.scale,
        "degrees": recipe.degrees,
        "hsv_h": recipe.hue,
        "hsv_s": recipe.saturation,
        "hsv_v": recipe.value,
        "mosaic": recipe.mosaic,
        "close_mosaic": 0,
        "fliplr": 0.0,
        "flipud": 0.0,
        "erasing": 0.0,
        "amp": "bf16" if plan.bf16 else False,  # True would fetch a model to test with
        "compile": plan.compile,
        "workers": plan.num_workers,
        "device": str(plan.device.index or 0) if plan.device.type == "cuda" else "cpu",
        "seed": plan.seed,
        "single_cls": False,
        "plots": False,
        "save": True,
        "save_dir": str(run.folder.path.resolve() / "ultralytics"),
        "exist_ok": True,
        "max_det": MAX_PILLS,
    }
    return _PillTrainer(run, overrides)


def _fit(trainer: "_PillTrainer", plan: Plan) -> None:
    try:
        trainer.train()
    except RuntimeError as error:
        text = str(error)
        if "out of memory" in text.lower():
            raise MachineError(
                f"Out of GPU memory with a batch of {plan.batch_size} frames, also after halving.",
                "Lower train.detection_batch_size or scales.<scale>.detection_px.",
            ) from None
        if "NaN" in text:
            raise MachineError(
                f"The detector's loss is not a number: {text}",
                f"Lower train_detection.lr (is {plan.lr}), or set train.mixed_precision=off.",
            ) from None
        raise


class _Frames(YOLODataset):
    """Ultralytics' data set, reading labels without writing a cache beside them."""

    def __init__(self, seed: int, **arguments: Any) -> None:
        self._seed = seed
        super().__init__(**arguments)
        for transform in getattr(self.transforms, "transforms", []):
            if hasattr(transform, "buffer_enabled"):
                transform.buffer_enabled = False  # a buffer depends on what came before

    def get_labels(self) -> list[dict[str, Any]]:
        return [_label(Path(path)) for path in self.im_files]

    def __getitem__(self, key: Any) -> dict[str, Any]:
        if isinstance(key, tuple):  # training: (epoch, index)
            sample_seed = int(np.random.SeedSequence((self._seed, *key)).generate_state(1)[0])
            random.seed(sample_seed)
            np.random.seed(sample_seed)
            key = key[1]
        item: dict[str, Any] = super().__getitem__(key)
        return item


class _Keys(Sampler[tuple[int, int]]):
    """(epoch, index) in the order of (seed, epoch)."""

    def __init__(self, samples: int, seed: int) -> None:
        self._samples, self._seed, self.epoch = samples, seed, 0

    def __len__(self) -> int:
        return self._samples

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng((self._seed, self.epoch)).permutation(self._samples)
        return ((self.epoch, int(index)) for index in order)


class _LazyLoader(DataLoader[Any]):
    """Starts at the first batch: Ultralytics asks twice for an iterator each epoch."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        yield from super().__iter__()


class _PillTrainer(DetectionTrainer):
    """Ultralytics' trainer with exact resume and this project's records."""

    def __init__(self, run: _Run, overrides: dict[str, Any]) -> None:
        self.run = run
        self.kept: dict[str, Any] = run.saved["best"] if run.saved else {}
        super().__init__(overrides=overrides)
        self.add_callback("on_train_epoch_start", _PillTrainer._begin_epoch)
        self.add_callback("on_train_batch_end", _PillTrainer._end_batch)

    def get_dataset(self) -> dict[str, Any]:
        images = self.run.data_dir / "images"
        return {
            "path": str(self.run.data_dir),
            "train": str(images / "train"),
            "val": str(images / "val"),
            "names": {0: "pill"},
            "nc": 1,
            "channels": 3,
        }

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> _Frames:
        training = mode == "train"
        return _Frames(
            self.run.plan.seed,
            img_path=img_path,
            imgsz=self.args.imgsz,
            batch_size=batch,
            augment=training,
            hyp=self.args,
            rect=not training,
            stride=STRIDE,
            pad=0.0 if training else 0.5,
            task="detect",
            data=self.data,
        )

    def get_dataloader(
        self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train"
    ) -> Any:
        if mode != "train":
            return super().get_dataloader(dataset_path, batch_size, rank, mode)
        dataset = self.build_dataset(dataset_path, mode, batch_size)
        return _LazyLoader(
            dataset,
            batch_size=min(batch_size, len(dataset)),
            sampler=_Keys(len(dataset), self.run.plan.seed),
            num_workers=self.args.workers,
            collate_fn=dataset.collate_fn,
            pin_memory=self.device.type == "cuda",
            persistent_workers=self.args.workers > 0,
            generator=torch.Generator().manual_seed(self.run.plan.seed),
        )

    def _begin_epoch(self) -> None:
        self._epoch_begun_s = time.monotonic()
        self._batches = 0
        self.train_loader.sampler.epoch = self.epoch
        torch.manual_seed(self.run.plan.seed * 1_000_003 + self.epoch)

    def _end_batch(self) -> None:
        self._batches += 1
        if self.run.interrupt.came:
            raise KeyboardInterrupt
        if self.run.log.due():
            seconds = time.monotonic() - self._epoch_begun_s
            figures = {"images_per_s": self._batches * self.batch_size / seconds}
            figures["loss"] = float(sum(self.tloss.values()))
            self.run.log.progress(self._batches, len(self.train_loader), self.epoch + 1, figures)

    def validate(self) -> Any:
        self._trained_s = time.monotonic() - self._epoch_begun_s
        return super().validate()

    def save_model(self) -> bool:
        """An epoch is complete: record it, then keep everything a resumed run needs."""
        metrics = self._epoch_metrics()
        if not self.kept or float(self.fitness) > self.kept["fitness"]:
            weights = self.ema.ema.state_dict()
            self.kept = {
                "fitness": float(self.fitness),
                "epoch": self.epoch + 1,
                "metrics": {name: metrics[name] for name in METRIC_NAMES},
                "weights": {k: v.detach().cpu().clone() for k, v in weights.items()},
            }
        self.run.recorder.record(metrics, time.monotonic() - self._epoch_begun_s)
        self.run.folder.save(
            {
                "model": unwrap_model(self.model).state_dict(),
                "average": self.ema.ema.state_dict(),
                "updates": self.ema.updates,
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "epoch": self.epoch + 1,
                "best": self.kept,
                "best_fitness": float(self.best_fitness),
                "batch_size": self.batch_size,
                "history": self.run.recorder.history,
                "resumes": self.run.resumes,
            }
        )
        return False  # Ultralytics' own checkpoint callbacks have nothing to do

    def resume_training(self, ckpt: Any) -> None:
        saved = self.run.saved
        if saved is None:
            return
        model = unwrap_model(self.model)
        model.load_state_dict(saved["model"])
        self.ema.ema.load_state_dict(saved["average"])
        self.ema.updates = saved["updates"]
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.best_fitness = saved["best_fitness"]
        self.start_epoch = saved["epoch"]
        if getattr(model.model[-1], "one2one_cv2", None) is not None:
            model.criterion = model.init_criterion()  # YOLO26 shifts its loss weights each epoch
            model.criterion.updates = self.start_epoch - 1
            model.criterion.update()

    def save_metrics(self, metrics: dict[str, float]) -> None:
        """Recorded by save_model."""

    def final_eval(self) -> None:
        """The evaluate stage measures the published checkpoint."""

    def _epoch_metrics(self) -> dict[str, float]:
        losses = {"loss/train": float(sum(self.tloss.values()))}
        losses["loss/val"] = sum(v for k, v in self.metrics.items() if k.startswith("val/"))
        named = {name: float(self.metrics[key]) for name, key in METRIC_NAMES.items()}
        rates = {
            "lr": float(self.optimizer.param_groups[0]["lr"]),
            "images_per_s": round(len(self.train_loader.dataset) / self._trained_s, 2),
        }
        return {name: round(float(v), 6) for name, v in {**losses, **named}.items()} | rates


def _label(image_path: Path) -> dict[str, Any]:
    """One frame's boxes as Ultralytics holds them (images/ -> labels/, .jpg -> .txt)."""
    label_path = image_path.parents[2] / "labels" / image_path.parent.name / f"{image_path.stem}.txt"
    rows = np.loadtxt(label_path, dtype=np.float32, ndmin=2).reshape(-1, 5)
    with Image.open(image_path) as picture:
        width, height = picture.size
    return {
        "im_file": str(image_path),
        "shape": (height, width),
        "cls": rows[:, :1],
        "bboxes": rows[:, 1:],
        "segments": [],
        "keypoints": None,
        "normalized": True,
        "bbox_format": "xywh",
    }
