"""Reads many label files in chunks over processes; the result does not depend on their number."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import NamedTuple

from pillsnap.errors import MachineError
from pillsnap.labels import Drug, Expected, Label, Reading, parse

CHUNK = 2000
LARGEST_LABEL_BYTES = 1 << 20
READ_BYTES = 1 << 14


class Task(NamedTuple):
    """A label file to read: its path relative to the root, and what its names promise."""

    path: str
    expected: Expected


@dataclass
class _Chunk:
    """Readings of a chunk, small to send: equal drugs once, oddities apart."""

    labels: list[tuple[int, int, int, int, int, int, int] | None] = field(default_factory=list)
    drugs: dict[Drug, int] = field(default_factory=dict)
    odd: dict[int, tuple[str, str, list[tuple[str, str]]]] = field(default_factory=dict)


class LabelReader:
    """Reads labels under a root; made by `reader`."""

    def __init__(self, root: str, pool: ProcessPoolExecutor | None) -> None:
        self._root = root
        self._pool = pool

    def read(
        self, tasks: Iterator[Task], total: int, progress: Callable[[int, int], None]
    ) -> Iterator[Reading]:
        """A Reading per task, in their order; `progress(done, total)` after each chunk."""
        chunks = iter(lambda: list(islice(tasks, CHUNK)), [])
        read = partial(_read_chunk, self._root)
        done = 0
        try:
            for chunk in self._pool.map(read, chunks) if self._pool else map(read, chunks):
                done += len(chunk.labels)
                progress(done, total)
                yield from _unpack(chunk)
        except BrokenProcessPool:
            raise MachineError(
                "A process that read labels was killed, most likely for want of memory.",
                "Set build_manifest.num_workers to 1, or free memory, and repeat.",
            ) from None


@contextmanager
def reader(root: str, num_workers: int, expected: int) -> Iterator[LabelReader]:
    """A LabelReader over num_workers processes (0: one per core) for some `expected` labels.

    One worker, or a chunk or two to read, is this process: starting others costs a second.
    """
    workers = num_workers or len(os.sched_getaffinity(0))
    if workers == 1 or expected <= 2 * CHUNK:
        yield LabelReader(root, None)
        return
    context = multiprocessing.get_context("forkserver")  # fork after threads have started can hang
    context.set_forkserver_preload(["__main__", "pillsnap.label_reading"])  # once, not per process
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_enter_process)
    try:
        pool.submit(os.getpid)  # processes start now, while this one walks the tree
        yield LabelReader(root, pool)
    finally:
        pool.shutdown(cancel_futures=True)


def _enter_process() -> None:
    """Ctrl-C is the parent's to handle, and a killed parent leaves no orphan behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def leave_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()


def _read_chunk(root: str, tasks: Sequence[Task]) -> _Chunk:
    chunk = _Chunk()
    for number, (path, expected) in enumerate(tasks):
        reading = _read_one(f"{root}/{path}", expected)
        if reading.label is None:
            chunk.labels.append(None)
        else:
            x, y, w, h, width, height, drug = reading.label
            index = chunk.drugs.setdefault(drug, len(chunk.drugs))
            chunk.labels.append((x, y, w, h, width, height, index))
        if reading.notes or reading.reason:
            chunk.odd[number] = (reading.reason, reading.detail, reading.notes)
    return chunk


def _read_one(path: str, expected: Expected) -> Reading:
    try:
        content = _content(path)
    except OSError as error:
        return Reading(reason="label_unreadable", detail=error.strerror or type(error).__name__)
    if len(content) > LARGEST_LABEL_BYTES:
        return Reading(reason="label_too_large", detail=f"over {LARGEST_LABEL_BYTES} bytes")
    return parse(content, expected)


def _content(path: str) -> bytes:
    """A file's bytes, no more than just over the limit; a third of what open() costs."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        content = b""
        while (more := os.read(descriptor, READ_BYTES)) and len(content) <= LARGEST_LABEL_BYTES:
            content += more
        return content
    finally:
        os.close(descriptor)


def _unpack(chunk: _Chunk) -> Iterator[Reading]:
    drugs = list(chunk.drugs)
    for number, figures in enumerate(chunk.labels):
        label = None if figures is None else Label(*figures[:6], drugs[figures[6]])
        yield Reading(label, *chunk.odd.get(number, ("", "", [])))
