"""Writes the outputs of validate: crops, evaluation frames, detection set, in manifest order.

The bytes depend on rows and photos only, not on processes, restarts or earlier runs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pillsnap.dataset.arrow import arrow_writer
from pillsnap.dataset.crops import SCHEMA
from pillsnap.dataset.manifest import COLUMNS, SPLITS
from pillsnap.validation.detection_set import DetectionFrame, DetectionWriter
from pillsnap.validation.work_store import Kind, WorkStore

Pill = dict[str, Any]  # a manifest row

PILL_COLUMNS = (
    "mapping_code", "class_index", "known", "box_x", "box_y", "box_w", "box_h", "group_id",
)  # fmt: skip
FRAME_SCHEMA = pa.schema(
    [
        ("image_path", pa.string()),
        ("image_type", pa.string()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("jpeg", pa.binary()),
        ("pills", pa.list_(pa.struct([SCHEMA.field(name) for name in PILL_COLUMNS]))),
    ]
)


@dataclass(frozen=True)
class AdmittedPhoto:
    """An admitted photo: key in the store, pictures to write, hash of its bytes."""

    key: str
    kinds: frozenset[Kind]
    content_hash: str


@dataclass(frozen=True)
class Admitted:
    """Admitted rows of all splits (with a column `split`) and their photos by path."""

    rows: pd.DataFrame
    photos: Mapping[str, AdmittedPhoto]

    def of(self, split: str, kind: Kind) -> Iterator[tuple[str, AdmittedPhoto, list[Pill]]]:
        """Path, photo and pills of each photo of a split with a picture of that kind."""
        names = list(COLUMNS)
        rows = self.rows.loc[self.rows["split"] == split, names].itertuples(index=False, name=None)
        pills = (dict(zip(names, row, strict=True)) for row in rows)
        for path, group in groupby(pills, key=itemgetter("image_path")):
            if kind in self.photos[path].kinds:
                yield path, self.photos[path], list(group)


def write_all(admitted: Admitted, store: WorkStore, data_dir: Path) -> dict[str, int]:
    """Write crops/, frames/ and detection/ under `data_dir`; the number of pictures in each."""
    counts = {"crops": 0, "detection_frames": 0, "evaluation_frames": 0}
    for split in SPLITS:
        path = data_dir / "crops" / f"{split}.arrow"
        counts["crops"] += _write_crops(path, admitted, store, split)
    for split in ("val", "test"):
        path = data_dir / "frames" / f"{split}.arrow"
        counts["evaluation_frames"] += _write_frames(path, admitted, store, split)
    detection = DetectionWriter(data_dir / "detection")
    for split in ("train", "val"):
        for path_text, photo, pills in admitted.of(split, Kind.DETECTION):
            [jpeg] = store.jpegs(photo.key, Kind.DETECTION)
            detection.add(split, _detection_frame(path_text, jpeg, pills))
            counts["detection_frames"] += 1
    detection.finish()
    return counts


def _write_crops(path: Path, admitted: Admitted, store: WorkStore, split: str) -> int:
    count = 0
    with arrow_writer(path, SCHEMA) as writer:
        for _, photo, pills in admitted.of(split, Kind.CROP):
            jpegs = store.jpegs(photo.key, Kind.CROP)
            for pill, jpeg in zip(pills, jpegs, strict=True):
                row = {**pill, "content_hash": photo.content_hash, "jpeg": jpeg}
                writer.add({name: row[name] for name in SCHEMA.names})
            count += len(jpegs)
    return count


def _write_frames(path: Path, admitted: Admitted, store: WorkStore, split: str) -> int:
    count = 0
    with arrow_writer(path, FRAME_SCHEMA) as writer:
        for image_path, photo, pills in admitted.of(split, Kind.FRAME):
            [jpeg] = store.jpegs(photo.key, Kind.FRAME)
            writer.add(
                {
                    "image_path": image_path,
                    "image_type": pills[0]["image_type"],
                    "width": pills[0]["image_width"],
                    "height": pills[0]["image_height"],
                    "jpeg": jpeg,
                    "pills": [{name: pill[name] for name in PILL_COLUMNS} for pill in pills],
                }
            )
            count += 1
    return count


def _detection_frame(image_path: str, jpeg: bytes, pills: list[Pill]) -> DetectionFrame:
    boxes = np.array([[pill[f"box_{side}"] for side in "xywh"] for pill in pills])
    width, height = pills[0]["image_width"], pills[0]["image_height"]
    return DetectionFrame(image_path, jpeg, boxes, width, height)
