"""Crops: JPEG bytes and manifest columns in memory-mapped Arrow files."""

from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from pillsnap.arrays import Ints, Pixels
from pillsnap.dataset.arrow import ArrowStore
from pillsnap.dataset.pixels import decode

SCHEMA = pa.schema(
    [
        ("image_path", pa.string()),
        ("mapping_code", pa.string()),
        ("class_index", pa.int64()),
        ("known", pa.bool_()),
        ("image_type", pa.string()),
        ("group_id", pa.string()),
        ("back", pa.int64()),
        ("direction", pa.int64()),
        ("light", pa.int64()),
        ("latitude", pa.int64()),
        ("longitude", pa.int64()),
        ("box_x", pa.int64()),
        ("box_y", pa.int64()),
        ("box_w", pa.int64()),
        ("box_h", pa.int64()),
        ("content_hash", pa.string()),
        ("jpeg", pa.binary()),
    ]
)


class CropStore(ArrowStore):
    """An Arrow file of crops; picklable (the copy opens the file itself)."""

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    @cached_property
    def _jpegs(self) -> tuple[Ints, list[NDArray[np.int32]], list[memoryview]]:
        """First row, offsets and bytes of every batch: no copy, no Arrow call per crop."""
        chunks = [chunk for chunk in self.arrow.column("jpeg").chunks if len(chunk)]
        starts = np.cumsum([0] + [len(chunk) for chunk in chunks])
        buffers = [chunk.buffers() for chunk in chunks]
        offsets = [np.frombuffer(parts[1], dtype=np.int32) for parts in buffers]
        return starts, offsets, [memoryview(parts[2]).cast("B") for parts in buffers]

    @cached_property
    def table(self) -> pd.DataFrame:
        """All columns except the JPEG bytes; row i belongs to crop i."""
        table: pd.DataFrame = self.arrow.drop_columns(["jpeg"]).to_pandas()
        return table

    def jpeg(self, index: int) -> memoryview:
        """JPEG bytes of a crop, from the mapped file without a copy."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        starts, offsets, data = self._jpegs
        batch = int(np.searchsorted(starts, index, side="right")) - 1
        row = index - int(starts[batch])
        return data[batch][offsets[batch][row] : offsets[batch][row + 1]]

    def decode(self, index: int) -> Pixels:
        """A crop, uint8 RGB [crop_px, crop_px, 3]."""
        return decode(self.jpeg(index))
