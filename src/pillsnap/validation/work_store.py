"""The pictures that validate has made so far, in a SQLite file that survives kill -9.

A photo's key changes with its path, size, time or boxes. After a restart, or when the data set has
grown, only photos without a known key are decoded.
"""

import os
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import xxhash

from pillsnap.errors import DataError, MachineError, UserError

Box = tuple[int, int, int, int]

BUSY_TIMEOUT_S = 1.0
QUEUED_TIMEOUT_S = 86_400.0  # experiments of a queue with the same pictures wait for each other
IN_EXPERIMENT = "DVC_EXP_BASELINE_REV"  # a variable that DVC sets
PART = "create table if not exists part (contents text not null)"  # a row when it is complete
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Kind(StrEnum):
    """What a picture is used for."""

    CROP = "crop"  # one per pill, in the order of the boxes
    DETECTION = "detection"  # the photo scaled down for the detector
    FRAME = "frame"  # the photo at full size, for the end-to-end metrics
    EXAMPLE = "example"  # a thumbnail with its boxes, for the report


@dataclass(frozen=True)
class PreparedPicture:
    """JPEG bytes; `perceptual_hash`: 64 bits for a crop, else 0."""

    kind: Kind
    jpeg: bytes
    perceptual_hash: int = 0


@dataclass(frozen=True)
class Prepared:
    """A valid photo and the pictures made of it."""

    key: str
    content_hash: str
    pixel_hash: str
    pictures: tuple[PreparedPicture, ...]


@dataclass(frozen=True)
class Hashes:
    """The hashes of a photo and its crops, for the checks."""

    content_hash: str
    pixel_hash: str
    perceptual_hashes: tuple[int, ...]  # one per box


TABLES = """
create table if not exists photos (
    key text primary key, kinds text not null, content_hash text not null,
    pixel_hash text not null);
create table if not exists pictures (
    key text not null, kind text not null, position integer not null,
    perceptual_hash integer not null, jpeg blob not null, jpeg_hash text not null);
create index if not exists pictures_of on pictures (kind, key, position, perceptual_hash);
create index if not exists pictures_by_key on pictures (key);
"""


class WorkStore:
    """The SQLite file of one recipe; a context manager. One process writes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> "WorkStore":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open_when_free()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode not in DAMAGED:
                raise self._named(error) from None
            for file in _files(self.path):  # everything in them can be made again
                file.unlink(missing_ok=True)
            self._open()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._database.close()
        if isinstance(error, sqlite3.DatabaseError):
            raise self._named(error) from None

    def kinds(self) -> dict[str, frozenset[Kind]]:
        """Key -> kinds of pictures made of the photo."""
        rows = self._database.execute("select key, kinds from photos")
        return {key: frozenset(Kind(kind) for kind in kinds.split()) for key, kinds in rows}

    def add(self, photos: Iterable[Prepared]) -> None:
        """Store the pictures of some photos in one transaction."""
        with self._database as database:
            for photo in photos:
                self._delete(photo.key)
                kinds = " ".join(sorted({picture.kind for picture in photo.pictures}))
                row = photo.key, kinds, photo.content_hash, photo.pixel_hash
                database.execute("insert into photos values (?,?,?,?)", row)
                database.executemany("insert into pictures values (?,?,?,?,?,?)", _rows(photo))

    def add_all(self, path: Path) -> None:
        """Store the photos of another work store that are not in this one."""
        self._database.execute("attach database ? as part", (str(path),))
        missing = "where key not in (select key from main.photos)"
        with self._database as database:
            for table in ("pictures", "photos"):  # photos last: its keys say what is missing
                database.execute(f"insert into main.{table} select * from part.{table} {missing}")
        self._database.execute("detach database part")

    def finish(self, contents: str) -> None:
        """Record that this store of a part is complete, and what of."""
        with self._database as database:
            database.execute(PART)
            database.execute("delete from part")
            database.execute("insert into part values (?)", (contents,))

    def contents(self) -> str | None:
        """What `finish` recorded; None before that."""
        self._database.execute(PART)
        row = self._database.execute("select contents from part").fetchone()
        return row and str(row[0])

    def hashes(self) -> dict[str, Hashes]:
        """Key -> hashes of the photo and of its crops."""
        query = "select key, perceptual_hash from pictures where kind = ? order by key, position"
        crops: dict[str, list[int]] = {}
        for key, value in self._database.execute(query, (Kind.CROP,)):
            crops.setdefault(key, []).append(value % 2**64)
        query = "select key, content_hash, pixel_hash from photos"
        return {
            key: Hashes(content, pixels, tuple(crops.get(key, ())))
            for key, content, pixels in self._database.execute(query)
        }

    def jpegs(self, key: str, kind: Kind) -> list[bytes]:
        """The pictures of that kind; DataError when their bytes have changed on disk."""
        query = "select jpeg, jpeg_hash from pictures where key = ? and kind = ? order by position"
        found = self._database.execute(query, (key, kind)).fetchall()
        if any(xxhash.xxh3_64_hexdigest(jpeg) != expected for jpeg, expected in found):
            raise self._damage()
        return [jpeg for jpeg, _ in found]

    def keep_only(self, keys: Iterable[str]) -> None:
        """Delete all other photos, and the files of other recipes in the same folder."""
        unused = self.kinds().keys() - set(keys)
        with self._database:
            for key in sorted(unused):
                self._delete(key)
        own = set(_files(self.path))
        for file in sorted(self.path.parent.glob("*.sqlite*")):
            if file not in own:
                file.unlink()

    def _delete(self, key: str) -> None:
        self._database.execute("delete from photos where key = ?", (key,))
        self._database.execute("delete from pictures where key = ?", (key,))

    def _open_when_free(self) -> None:
        queued = IN_EXPERIMENT in os.environ
        until = time.monotonic() + (QUEUED_TIMEOUT_S if queued else 0)
        while True:
            try:
                return self._open()
            except sqlite3.DatabaseError as error:  # after BUSY_TIMEOUT_S
                busy = error.sqlite_errorcode == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > until:
                    raise

    def _open(self) -> None:
        self._database = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S)
        try:
            self._database.execute("pragma locking_mode = exclusive")  # one validate at a time
            self._database.execute("pragma auto_vacuum = full")
            self._database.execute("pragma journal_mode = wal")
            self._database.execute("pragma synchronous = normal")  # survives a kill, and is fast
            self._database.executescript(TABLES)
            self._database.executescript("begin immediate; commit")  # takes the lock
        except sqlite3.DatabaseError:
            self._database.close()
            raise

    def _named(self, error: sqlite3.DatabaseError) -> UserError:
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            return MachineError(
                f"{self.path} is in use: validate is already running.", "Wait for it, or stop it."
            )
        if error.sqlite_errorcode in DAMAGED:
            return self._damage()
        return MachineError(
            f"{self.path} cannot be written or read: {error}.",
            "Free disk space (df -h), then run dvc repro: it resumes.",
        )

    def _damage(self) -> DataError:
        return DataError(
            f"{self.path}: the bytes on disk have changed; the disk may be failing.",
            f"Delete {self.path.parent}, run dvc repro validate, and check the disk.",
        )


def _rows(photo: Prepared) -> list[tuple[str, str, int, int, bytes, str]]:
    return [
        (
            photo.key,
            picture.kind,
            position,
            picture.perceptual_hash - (2**64 if picture.perceptual_hash >= 2**63 else 0),
            picture.jpeg,
            xxhash.xxh3_64_hexdigest(picture.jpeg),
        )
        for position, picture in enumerate(photo.pictures)
    ]


def _files(path: Path) -> list[Path]:
    return [path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")]
