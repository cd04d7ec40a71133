"""Arrow files: written row by row and atomically, memory-mapped for reading."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from pillsnap import files
from pillsnap.arrays import Pixels
from pillsnap.dataset import pixels
from pillsnap.errors import DataError

BATCH_ROWS = 1024  # fixed, so that equal rows give equal bytes


class ArrowStore:
    """An Arrow IPC file of pictures and what belongs to them, memory-mapped at first use; DataError
    when it is missing or damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def arrow(self) -> pa.Table:
        """The table: only what is used of it is read."""
        try:
            with pa.memory_map(str(self.path)) as source:
                return pa.ipc.open_file(source).read_all()
        except FileNotFoundError:
            cure = "Make it: dvc repro validate (or dvc pull)."
            raise DataError(f"{self.path} is missing.", cure) from None
        except (pa.ArrowInvalid, OSError) as error:
            fact = f"{self.path} is not a complete Arrow file: {error}"
            cure = "Restore it: dvc checkout --force, or dvc repro -f -s validate."
            raise DataError(fact, cure) from None

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}  # a pickled copy opens the file itself

    def jpeg(self, index: int) -> memoryview:
        """The JPEG bytes of a row, from the mapped file without a copy."""
        if index < 0:
            raise IndexError(index)
        # Arrow's buffers count as signed bytes
        return memoryview(self.arrow.column("jpeg")[index].as_buffer()).cast("B")

    def decode(self, index: int) -> Pixels:
        """The picture of a row, uint8 RGB [height, width, 3]."""
        return pixels.decode(self.jpeg(index))


@contextmanager
def arrow_writer(path: Path, schema: pa.Schema) -> Iterator["RowWriter"]:
    """Write an Arrow IPC file row by row; `path` is replaced atomically."""
    with (
        files.replacing(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, schema) as file,
    ):
        writer = RowWriter(file, schema)
        yield writer
        writer.flush()


class RowWriter:
    """Collects rows (dicts) into batches of BATCH_ROWS, or fewer when they are large."""

    def __init__(self, file: pa.ipc.RecordBatchFileWriter, schema: pa.Schema) -> None:
        self._file, self._schema = file, schema
        self._rows: list[dict[str, Any]] = []
        self._jpeg_bytes = 0

    def add(self, row: dict[str, Any]) -> None:
        """Append one row; `jpeg` holds its bytes."""
        self._rows.append(row)
        self._jpeg_bytes += len(row["jpeg"])
        if len(self._rows) == BATCH_ROWS or self._jpeg_bytes > 2**25:
            self.flush()

    def flush(self) -> None:
        """Write the rows collected so far as one batch."""
        if self._rows:
            self._file.write_batch(pa.RecordBatch.from_pylist(self._rows, schema=self._schema))
        self._rows, self._jpeg_bytes = [], 0
