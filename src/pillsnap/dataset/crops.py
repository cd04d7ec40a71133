"""Crops: JPEG bytes and manifest columns in memory-mapped Arrow files."""

from functools import cached_property

import pandas as pd
import pyarrow as pa

from pillsnap.dataset.arrow import ArrowStore
from pillsnap.dataset.manifest import COLUMNS

TYPES = {"str": pa.string(), "int64": pa.int64(), "bool": pa.bool_()}
OF_MANIFEST = (
    "image_path", "mapping_code", "class_index", "known", "image_type", "group_id", "back",
    "direction", "light", "latitude", "longitude", "box_x", "box_y", "box_w", "box_h",
)  # fmt: skip
SCHEMA = pa.schema(
    [
        *((name, TYPES[COLUMNS[name]]) for name in OF_MANIFEST),
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
