"""Frames for the detector's training, each sample keyed by (seed, epoch, index)."""

# isort: off
import pillsnap.detection.settings  # noqa: F401  # first: sets switches
# isort: on

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader, Sampler
from ultralytics.data.dataset import YOLODataset

from pillsnap.training.ranks import ALONE, Ranks


class Frames(YOLODataset):  # type: ignore[misc]  # Ultralytics has no types
    """Ultralytics' data set, which reads labels without writing a cache next to them."""

    def __init__(self, seed: int, **arguments: Any) -> None:
        self._seed = seed
        super().__init__(**arguments)
        for transform in getattr(self.transforms, "transforms", []):
            if hasattr(transform, "buffer_enabled"):
                transform.buffer_enabled = False  # a buffer depends on earlier samples

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


@dataclass(eq=False)
class Keys(Sampler[tuple[int, int]]):
    """(epoch, index), for each rank an equal part of a batch; the last one starts over."""

    samples: int
    seed: int
    batch_size: int
    ranks: Ranks = ALONE
    epoch: int = 0

    def __len__(self) -> int:
        return math.ceil(self.samples / self.ranks.world_size)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rank, world_size = self.ranks.rank, self.ranks.world_size
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.samples)
        order = np.resize(order, len(self) * world_size)
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            for index in np.split(batch, world_size)[rank].tolist():
                yield self.epoch, index


class LazyLoader(DataLoader[Any]):
    """Starts at the first batch: Ultralytics asks twice for an iterator each epoch."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        yield from super().__iter__()


def _label(image_path: Path) -> dict[str, Any]:
    """One frame's boxes as Ultralytics stores them (images/ -> labels/, .jpg -> .txt)."""
    label_path = (
        image_path.parents[2] / "labels" / image_path.parent.name / f"{image_path.stem}.txt"
    )
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
