"""Evaluation frames: full-size photos (JPEG) with their labelled pills, in an Arrow file."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pillsnap import boxes
from pillsnap.arrays import Ints
from pillsnap.boxes import Boxes
from pillsnap.dataset.arrow import ArrowStore


@dataclass(frozen=True)
class LabelledFrame:
    """The labels of a frame: boxes x1 y1 x2 y2 in pixels, class_index -1 for unknown pills."""

    image_path: str
    image_type: str
    group_id: str
    box: Boxes
    class_index: Ints
    codes: tuple[str, ...]


class FrameStore(ArrowStore):
    """An Arrow file of frames."""

    @cached_property
    def labels(self) -> list[LabelledFrame]:
        """The labels of every frame, in the order of the file."""
        return [_labelled(row) for row in self.arrow.drop_columns(["jpeg"]).to_pylist()]


def _labelled(row: dict[str, Any]) -> LabelledFrame:
    pills = row["pills"]
    xywh = [[pill[f"box_{side}"] for side in "xywh"] for pill in pills]
    known = [pill["class_index"] if pill["known"] else -1 for pill in pills]
    return LabelledFrame(
        image_path=row["image_path"],
        image_type=row["image_type"],
        group_id=pills[0]["group_id"] if pills else row["image_path"],
        box=boxes.from_xywh(np.array(xywh, dtype=np.float32).reshape(-1, 4)),
        class_index=np.array(known, dtype=np.int64),
        codes=tuple(pill["mapping_code"] for pill in pills),
    )
