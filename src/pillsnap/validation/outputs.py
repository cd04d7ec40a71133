"""Writes the outputs of validate: crops, evaluation frames, detection set, in manifest order.

The bytes depend on rows and photos only, not on processes, restarts or earlier runs.
"""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
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
from pillsnap.validation.detection_set import DetectionWriter
from pillsnap.validation.work_store import Kind, WorkStore

Pill = dict[str, Any]  # a manifest row
KINDS = ("crops", "frames")  # folders of Arrow files

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


def write_all(
    rows: pd.DataFrame, photos: Mapping[str, AdmittedPhoto], store: WorkStore, data_dir: Path
) -> None:
    """Write crops/, frames/ and detection/ under `data_dir`; `rows`: the admitted ones of all
    splits (with a column `split`), `photos`: theirs by path."""
    detection = DetectionWriter(data_dir / "detection")
    for split in SPLITS:
        crops_path, frames_path = (data_dir / kind / f"{split}.arrow" for kind in KINDS)
        with (
            arrow_writer(crops_path, SCHEMA) as crops,
            arrow_writer(frames_path, FRAME_SCHEMA)
            if split != "train"
            else nullcontext() as frames,
        ):
            for path, pills in _by_photo(rows[rows["split"] == split]):
                photo = photos[path]
                for pill, jpeg in zip(pills, store.jpegs(photo.key, Kind.CROP), strict=True):
                    row = {**pill, "content_hash": photo.content_hash, "jpeg": jpeg}
                    crops.add({name: row[name] for name in SCHEMA.names})
                if Kind.FRAME in photo.kinds:
                    assert frames, "photos of train are not measured"
                    frames.add(_frame(pills, *store.jpegs(photo.key, Kind.FRAME)))
                if Kind.DETECTION in photo.kinds:
                    [jpeg] = store.jpegs(photo.key, Kind.DETECTION)
                    boxes = np.array([[pill[f"box_{side}"] for side in "xywh"] for pill in pills])
                    size = pills[0]["image_width"], pills[0]["image_height"]
                    detection.add(split, path, jpeg, boxes, size)
    detection.finish()


def _by_photo(rows: pd.DataFrame) -> Iterator[tuple[str, list[Pill]]]:
    """Path and pills of each photo, in the order of the rows."""
    names = list(COLUMNS)
    pills = (
        dict(zip(names, row, strict=True)) for row in rows[names].itertuples(index=False, name=None)
    )
    for path, group in groupby(pills, key=itemgetter("image_path")):
        yield path, list(group)


def _frame(pills: list[Pill], jpeg: bytes) -> dict[str, Any]:
    """A row of FRAME_SCHEMA."""
    first = pills[0]
    return {
        "image_path": first["image_path"],
        "image_type": first["image_type"],
        "width": first["image_width"],
        "height": first["image_height"],
        "jpeg": jpeg,
        "pills": [{name: pill[name] for name in PILL_COLUMNS} for pill in pills],
    }
