"""Crops: JPEG bytes and manifest columns in memory-mapped Arrow files."""

from functools import cached_property

import pandas as pd
import pyarrow as pa

from pillsnap.dataset.arrow import ArrowStore

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
    """An Arrow file of crops, uint8 RGB [crop_px, crop_px, 3]."""

    @cached_property
    def table(self) -> pd.DataFrame:
        """All columns except the JPEG bytes; row i belongs to crop i."""
        table: pd.DataFrame = self.arrow.drop_columns(["jpeg"]).to_pandas()
        return table
