"""What validate has made of each photo so far: a SQLite file that survives kill -9.

A photo's key changes when its path, size, time or boxes change, so a restart and a grown data set
find what was decoded before, and only the rest is decoded.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import xxhash

from pillsnap.errors import DataError, MachineError, UserError

Box = tuple[int, int, int, int]

BUSY_TIMEOUT_S = 1.0
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Kind(StrEnum):
    """What a picture made of a photo is for."""

    CROP = "crop"  # one per pill, in the order of the boxes
    DETECTION = "detection"  # the frame scaled down for the detector
    FRAME = "frame"  # the frame at full size, for the end-to-end figures
    EXAMPLE = "example"  # a thumbnail with its boxes, for the report


@dataclass(frozen=True)
class Picture:
    """JPEG bytes; `perceptual_hash` is a crop's, 64 bits, and 0 elsewhere."""

    kind: Kind
    jpeg: bytes
    perceptual_hash: int = 0


@dataclass(frozen=True)
class Prepared:
    """A sound photo and the pictures made of it."""

    key: str
    content_hash: str
    pixel_hash: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Hashes:
    """What the checks need to know of a prepared photo."""

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
    """The SQLite file of one set of settings; a context manager. One process writes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> "WorkStore":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self._close()
            if error.sqlite_errorcode not in DAMAGED:
                raise self._named(error) from None
            for file in _files(self.path):  # everything in it can be made again
                file.unlink(missing_ok=True)
            self._open()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._close()
        if isinstance(error, sqlite3.DatabaseError):
            raise self._named(error) from None

    def kinds(self) -> dict[str, frozenset[Kind]]:
        """Key -> what has been made of the photo."""
        rows = self._database.execute("select key, kinds from photos")
        return {key: frozenset(Kind(kind) for kind in kinds.split()) for key, kinds in rows}

    def add(self, photos: Iterable[Prepared]) -> None:
        """Keep the pictures of some photos: all of them, or none if killed before the end."""
        with self._database as database:
            for photo in photos:
                self._forget(photo.key)
                kinds = " ".join(sorted({picture.kind for picture in photo.pictures}))
                row = photo.key, kinds, photo.content_hash, photo.pixel_hash
                database.execute("insert into photos values (?,?,?,?)", row)
                database.executemany("insert into pictures values (?,?,?,?,?,?)", _rows(photo))

    def hashes(self) -> dict[str, Hashes]:
        """Key -> hashes of the prepared photo and of its crops."""
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
        """The pictures of that kind; DataError when the disk gave back other bytes."""
        query = "select jpeg, jpeg_hash from pictures where key = ? and kind = ? order by position"
        found = self._database.execute(query, (key, kind)).fetchall()
        if any(xxhash.xxh3_64_hexdigest(jpeg) != expected for jpeg, expected in found):
            raise self._damage()
        return [jpeg for jpeg, _ in found]

    def keep_only(self, keys: Iterable[str]) -> None:
        """Forget every other photo, and the files of other settings beside this one."""
        unused = self.kinds().keys() - set(keys)
        with self._database:
            for key in sorted(unused):
                self._forget(key)
        ours = set(_files(self.path))
        for file in sorted(self.path.parent.glob("*.sqlite*")):
            if file not in ours:
                file.unlink()

    def _forget(self, key: str) -> None:
        self._database.execute("delete from photos where key = ?", (key,))
        self._database.execute("delete from pictures where key = ?", (key,))

    def _open(self) -> None:
        self._database = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S)
        self._database.execute("pragma locking_mode = exclusive")  # one validate at a time
        self._database.execute("pragma auto_vacuum = full")
        self._database.execute("pragma journal_mode = wal")
        self._database.execute("pragma synchronous = normal")  # whole after a kill, and fast
        self._database.executescript(TABLES)
        self._database.executescript("begin immediate; commit")  # takes the lock

    def _close(self) -> None:
        self._database.close()

    def _named(self, error: sqlite3.DatabaseError) -> UserError:
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            return MachineError(
                f"{self.path} is in use: validate already runs.", "Wait for it, or stop it."
            )
        if error.sqlite_errorcode in DAMAGED:
            return self._damage()
        return MachineError(
            f"{self.path} cannot be written or read: {error}.",
            "Make room on the disk (df -h), then run dvc repro: it goes on where it stopped.",
        )

    def _damage(self) -> DataError:
        return DataError(
            f"{self.path} gave back other bytes than were written: the disk is failing.",
            f"Delete {self.path.parent} and run dvc repro validate; check the disk.",
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
