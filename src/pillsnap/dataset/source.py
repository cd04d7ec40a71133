"""Reads the files of a data root, in folders or in zip archives that nobody has unpacked.

A file in an archive has the path `<archive>/<member>`: `TS_1_single.zip/K-000114/<stem>.png`.
Light imports only: the worker processes load this module.
"""

import errno
import lzma
import os
import re
import stat
import struct
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile, ZipFile, ZipInfo

from pillsnap.errors import DataError, reason_of

ARCHIVE = ".zip"
INSIDE = re.compile(r"\.zip/", re.IGNORECASE)
ENCODINGS = ("utf-8", "cp949", "cp437")  # of names without the UTF-8 flag; cp437 takes any bytes
OPEN_ARCHIVES = 4  # per process: a directory of 50,000 names takes some 40 MB
DAMAGE = (  # of an archive
    BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError,
)  # fmt: skip


class TooLargeError(OSError):
    """A file with more bytes than the caller reads."""


class Status(NamedTuple):
    """What changes when a file does."""

    size: int  # bytes
    version: int  # time of the last change in ns; of a file in an archive its CRC-32


def check_root(root: Path) -> None:
    """DataError unless the data root is a folder that can be listed."""
    try:
        os.scandir(root).close()
    except OSError as error:
        raise DataError(
            f"The data root {root} cannot be listed: {error.strerror}.",
            "Set PILLSNAP_DATA_ROOT (or data.root) to the folder that the photos are in.",
        ) from None


def read(path: str | Path, most: int) -> bytes:
    """The bytes of a file, at most `most`; OSError says why it cannot be read.

    What is read out of an archive has the CRC-32 that the archive records.
    """
    found = _member(os.fspath(path))
    if found is None:
        return _read_file(os.fspath(path), most)
    archive, member = found
    if member.file_size > most:
        raise TooLargeError(errno.EFBIG, f"{member.file_size:,} bytes")
    with _named(), archive.open(member) as file:
        return file.read(most)


def status(path: str | Path) -> Status:
    """Size and version of a file; OSError if there is none."""
    found = _member(os.fspath(path))
    if found:
        return Status(found[1].file_size, found[1].CRC)
    of_file = _found(os.fspath(path))[1]
    return Status(of_file.st_size, of_file.st_mtime_ns)


def statuses(paths: Sequence[str | Path]) -> list[Status | OSError]:
    """The status of each, or why there is none. Sorted paths open each archive once."""

    def of(path: str | Path) -> Status | OSError:
        try:
            return status(path)
        except OSError as error:
            return error

    with ThreadPoolExecutor(16) as pool:  # waits for the disk, not for the CPU
        plain = pool.map(of, (path for path in paths if not is_inside(path)), chunksize=256)
        return [of(path) if is_inside(path) else next(plain) for path in paths]


def members(path: str) -> dict[str, int]:
    """Name and bytes of each file in an archive, read from its central directory."""
    entries = _archive_at(path).infolist()
    return {
        entry.filename: entry.file_size
        for entry in entries
        if entry.filename and not entry.is_dir()  # no name: damaged
    }


def is_inside(path: str | Path) -> bool:
    """Whether a path, by its name, is that of a file in an archive."""
    return INSIDE.search(os.fspath(path)) is not None


def on_disk(path: str | Path) -> str:
    """The file that holds the bytes: the path itself, or the archive that it is in."""
    found = _member(os.fspath(path))
    return str(found[0].filename) if found else os.fspath(path)


def locate(path: Path) -> Path:
    """The path as spelt on disk, where Korean may be in NFD instead of NFC, or the reverse.

    A path that does not exist or cannot be accessed is returned unchanged.
    """
    if os.path.exists(path) or path == path.parent:  # noqa: PTH110
        return path
    folder = locate(path.parent)
    forms = (folder / unicodedata.normalize(form, path.name) for form in ("NFC", "NFD"))
    return next(filter(os.path.exists, forms), folder / path.name)


def _read_file(path: str, most: int) -> bytes:
    """Takes a third of the time of open()."""
    flags = os.O_RDONLY | os.O_NONBLOCK  # a FIFO would wait for a writer
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        descriptor = os.open(locate(Path(path)), flags)
    try:
        of_file = os.fstat(descriptor)
        if not stat.S_ISREG(of_file.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if of_file.st_size > most:
            raise TooLargeError(errno.EFBIG, f"{of_file.st_size:,} bytes")
        content = os.read(descriptor, of_file.st_size)
        while len(content) < of_file.st_size:
            more = os.read(descriptor, of_file.st_size - len(content))
            if not more:
                break
            content += more
        return content
    finally:
        os.close(descriptor)


def _member(path: str) -> tuple[ZipFile, ZipInfo] | None:
    """The archive and the entry of a path; None for a file in a folder, whatever its name."""
    for found in INSIDE.finditer(path):
        archive, name = path[: found.end() - 1], path[found.end() :]
        if not os.path.isdir(archive):  # noqa: PTH112, it raises no OSError
            opened = _archive_at(archive)
            try:
                return opened, opened.getinfo(name)
            except KeyError:
                raise FileNotFoundError(errno.ENOENT, "not in the archive", path) from None
    return None


def _found(path: str) -> tuple[str, os.stat_result]:
    """The path as spelt on disk, and its status."""
    try:
        return path, os.stat(path)  # noqa: PTH116, without making a Path
    except FileNotFoundError:
        spelt = locate(Path(path))
        return os.fspath(spelt), spelt.stat()


def _archive_at(path: str) -> ZipFile:
    path, of_file = _found(path)
    if not stat.S_ISREG(of_file.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    with _named():
        return _opened(path, of_file.st_size, of_file.st_mtime_ns)


@lru_cache(maxsize=OPEN_ARCHIVES)
def _opened(path: str, _size: int, _mtime_ns: int) -> ZipFile:
    """An archive with its central directory; closed when no longer used."""
    for encoding in ENCODINGS[:-1]:
        try:
            return ZipFile(path, metadata_encoding=encoding)
        except UnicodeDecodeError:
            continue
    return ZipFile(path, metadata_encoding=ENCODINGS[-1])


@contextmanager
def _named() -> Iterator[None]:
    """Damage of an archive as OSError."""
    try:
        yield
    except DAMAGE as error:
        raise OSError(errno.EIO, f"damaged archive: {reason_of(error)}") from None
