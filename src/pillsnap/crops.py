"""Crops: cut from a frame in one way only, kept as JPEG bytes in memory-mapped Arrow files."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import simplejpeg
from numpy.typing import NDArray

from pillsnap import atomic
from pillsnap.errors import DataError

Pixels = NDArray[np.uint8]

BATCH_ROWS = 1024  # rows of an Arrow batch: fixed, so that equal rows give equal bytes

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


def cut(
    frame: Pixels,
    box_xywh: NDArray[np.generic] | tuple[float, ...],
    crop_px: int,
    margin: float,
) -> Pixels:
    """The pill in a frame as the classifier sees it: uint8 RGB [crop_px, crop_px, 3].

    The square around the box's centre whose side is the longer box side x (1 + 2 x margin), in
    whole pixels, the frame's edge replicated past it. `frame` is uint8 RGB [h, w, 3].
    """
    x, y, width, height = (float(value) for value in box_xywh)
    side = max(1, int(np.floor(max(width, height) * (1 + 2 * margin) + 0.5)))
    left = int(np.floor(x + width / 2 - side / 2 + 0.5))
    top = int(np.floor(y + height / 2 - side / 2 + 0.5))
    if left >= 0 and top >= 0 and left + side <= frame.shape[1] and top + side <= frame.shape[0]:
        square = np.ascontiguousarray(frame[top : top + side, left : left + side])
    else:
        rows = np.clip(np.arange(top, top + side), 0, frame.shape[0] - 1)
        columns = np.clip(np.arange(left, left + side), 0, frame.shape[1] - 1)
        square = frame[rows[:, None], columns]
    interpolation = cv2.INTER_AREA if side > crop_px else cv2.INTER_LINEAR
    crop = cv2.resize(square, (crop_px, crop_px), interpolation=interpolation)
    return np.asarray(crop, dtype=np.uint8)


def encode(pixels: Pixels, quality: int) -> bytes:
    """JPEG bytes of uint8 RGB [h, w, 3]; chroma keeps its resolution (imprints are coloured)."""
    whole = np.ascontiguousarray(pixels)
    return bytes(simplejpeg.encode_jpeg(whole, quality, "RGB", "444"))


def decode(jpeg: bytes | memoryview) -> Pixels:
    """uint8 RGB [h, w, 3] of JPEG bytes."""
    return np.asarray(simplejpeg.decode_jpeg(jpeg, "RGB"), dtype=np.uint8)


def perceptual_hash(crop: Pixels) -> int:
    """64 bits that near copies share but for a few: signs of the 8 x 8 lowest cosine waves.

    Marr and Hildreth's idea as in pHash (Zauner 2010): 32 x 32 grey, DCT, above the median or not.
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    waves = cv2.dct(small)[:8, :8].ravel()
    bits = waves > np.median(waves[1:])  # the first is the mean brightness
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


class CropStore:
    """An Arrow file of crops, opened at first use; picklable, and opened anew after a fork."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    @cached_property
    def arrow(self) -> pa.Table:
        """The whole table, memory-mapped: only what is asked for is read."""
        return open_arrow(self.path)

    @cached_property
    def _jpegs(self) -> tuple[NDArray[np.int64], list[NDArray[np.int32]], list[memoryview]]:
        """First row, offsets and bytes of every batch: no copy, and no Arrow call per crop."""
        chunks = [chunk for chunk in self.arrow.column("jpeg").chunks if len(chunk)]
        starts = np.cumsum([0] + [len(chunk) for chunk in chunks])
        buffers = [chunk.buffers() for chunk in chunks]
        offsets = [np.frombuffer(parts[1], dtype=np.int32) for parts in buffers]
        return starts, offsets, [memoryview(parts[2]).cast("B") for parts in buffers]

    @cached_property
    def table(self) -> pd.DataFrame:
        """Every column but the JPEG bytes; row i belongs to crop i."""
        table: pd.DataFrame = self.arrow.drop_columns(["jpeg"]).to_pandas()
        return table

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    def jpeg(self, index: int) -> memoryview:
        """JPEG bytes of a crop, straight from the mapped file."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        starts, offsets, data = self._jpegs
        batch = int(np.searchsorted(starts, index, side="right")) - 1
        row = index - int(starts[batch])
        return data[batch][offsets[batch][row] : offsets[batch][row + 1]]

    def decode(self, index: int) -> Pixels:
        """A crop, uint8 RGB [crop_px, crop_px, 3]."""
        return decode(self.jpeg(index))


def open_arrow(path: Path) -> pa.Table:
    """Map an Arrow IPC file; DataError when it is missing or damaged."""
    try:
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).read_all()
    except FileNotFoundError:
        raise DataError(
            f"{path} is not here.", "Make it: dvc repro validate (or dvc pull)."
        ) from None
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(
            f"{path} is not a whole Arrow file: {error}",
            "Restore it: dvc checkout, or dvc repro -f validate.",
        ) from None


@contextmanager
def arrow_writer(path: Path, schema: pa.Schema) -> Iterator["RowWriter"]:
    """Write an Arrow IPC file row by row; it stands at `path` whole, or not at all."""
    with (
        atomic.replacing(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, schema) as file,
    ):
        writer = RowWriter(file, schema)
        yield writer
        writer.flush()


class RowWriter:
    """Gathers rows (dicts) into batches of BATCH_ROWS, or fewer when they are heavy."""

    def __init__(self, file: pa.ipc.RecordBatchFileWriter, schema: pa.Schema) -> None:
        self._file, self._schema = file, schema
        self._rows: list[dict[str, Any]] = []
        self._heavy_bytes = 0

    def add(self, row: dict[str, Any]) -> None:
        """Append one row; `jpeg` holds its bytes."""
        self._rows.append(row)
        self._heavy_bytes += len(row["jpeg"])
        if len(self._rows) == BATCH_ROWS or self._heavy_bytes > 2**25:
            self.flush()

    def flush(self) -> None:
        """Write the rows gathered so far as one batch."""
        if self._rows:
            self._file.write_batch(pa.RecordBatch.from_pylist(self._rows, schema=self._schema))
        self._rows, self._heavy_bytes = [], 0


def write_crops(path: Path, rows: pd.DataFrame, jpegs: list[bytes]) -> None:
    """Write a crop store from a table with SCHEMA's columns (jpeg aside) and the JPEG bytes."""
    names = [name for name in SCHEMA.names if name != "jpeg"]
    with arrow_writer(path, SCHEMA) as writer:
        for row, jpeg in zip(rows[names].itertuples(index=False), jpegs, strict=True):
            writer.add({**dict(zip(names, row, strict=True)), "jpeg": jpeg})
