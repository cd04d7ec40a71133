"""Reads many label files in chunks, in several processes; their number does not matter.

Light imports only: the worker processes load this module.
"""

import gc
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import NamedTuple

from pillsnap.aihub.labels import DrugFields, Expected, LabelReading, parse
from pillsnap.dataset import source
from pillsnap.dataset.names import parse_view
from pillsnap.stage.pool import Spread

CHUNK = 2000  # labels per task of a worker
LARGEST_LABEL_BYTES = 1 << 20
UNREAD = -1
COLUMNS = 7  # of a label: box x, y, w, h, photo w, h, number of its drug
NO_LABEL = (UNREAD,) * COLUMNS


class LabelBatch(NamedTuple):
    """Labels to read, of one code in one folder (relative to the root)."""

    folder: str
    ending: str  # of the file names
    code: str
    stems: list[str]


class Readings(NamedTuple):
    """The content of some labels in their order; equal drugs are kept once."""

    values: bytes  # [labels, COLUMNS] int32; UNREAD where a label cannot be used
    drugs: list[DrugFields]
    remarks: list[tuple[int, str, str, list[tuple[str, str]]]]  # label, reason, detail, notes


def read(
    root: str, batches: Sequence[LabelBatch], spread: Spread, progress: Callable[[int, int], None]
) -> Iterator[Readings]:
    """Readings chunk by chunk, in order; calls `progress(done, total)` after each."""
    chunks = _chunks(batches)
    total = sum(len(batch.stems) for batch in batches)
    done = 0
    for chunk, readings in zip(chunks, spread(partial(_read_chunk, root), chunks), strict=True):
        done += sum(len(batch.stems) for batch in chunk)
        progress(done, total)
        yield readings


def _chunks(batches: Sequence[LabelBatch]) -> list[list[LabelBatch]]:
    """The batches regrouped into chunks of CHUNK labels; the last may be smaller."""
    chunks: list[list[LabelBatch]] = []
    room = 0
    for folder, ending, code, stems in batches:
        start = 0
        while start < len(stems):
            if not room:
                chunks.append([])
                room = CHUNK
            part = stems[start : start + room]
            chunks[-1].append(LabelBatch(folder, ending, code, part))
            start, room = start + len(part), room - len(part)
    return chunks


@contextmanager
def without_gc() -> Iterator[None]:
    """No garbage collection: a tenth of the time, spent on millions of tuples without a cycle."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@without_gc()
def _read_chunk(root: str, batches: Sequence[LabelBatch]) -> Readings:
    values = array("i")
    drugs: dict[DrugFields, int] = {}
    remarks = []
    number = 0
    for batch in batches:
        for reading in _read_batch(root, batch):
            if reading.label is None:
                values.extend(NO_LABEL)
            else:
                *box_and_frame, drug = reading.label
                values.extend(box_and_frame)
                values.append(drugs.setdefault(drug, len(drugs)))
            if reading.notes or reading.reason:
                remarks.append((number, reading.reason, reading.detail, reading.notes))
            number += 1
    return Readings(values.tobytes(), list(drugs), remarks)


@lru_cache(maxsize=4096)
def _angles(view: str) -> tuple[int, int]:
    parsed = parse_view(view)
    assert parsed is not None, view
    return parsed.latitude, parsed.longitude


def _read_batch(root: str, batch: LabelBatch) -> Iterator[LabelReading]:
    for stem in batch.stems:
        latitude, longitude = _angles(stem.partition("_")[2])
        expected = Expected(batch.code, f"{stem}.png", latitude, longitude)
        try:
            path = f"{root}/{batch.folder}/{stem}{batch.ending}"
            content = source.read(path, LARGEST_LABEL_BYTES)
        except source.TooLargeError as error:
            yield LabelReading(reason="label_too_large", detail=error.strerror or "")
        except OSError as error:
            yield LabelReading(reason="label_unreadable", detail=error.strerror or "")
        else:
            yield parse(content, expected)
