"""`pillsnap verify`: rehash everything on disk that has a recorded hash, and name what changed."""

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pillsnap import files
from pillsnap.dataset import source
from pillsnap.dataset.crops import CropStore
from pillsnap.errors import UserError
from pillsnap.training import checkpoints
from pillsnap.validation import photos

CACHE = Path(".dvc/cache/files/md5")
RESTORE = "dvc checkout --force restores it from the cache; dvc repro makes it anew."
_md5 = partial(hashlib.md5, usedforsecurity=False)
LARGEST_PHOTO_BYTES = 2**30


@dataclass(frozen=True, order=True)
class Damage:
    """A file that changed: where, what is wrong, the cure."""

    path: str
    fact: str
    cure: str


@dataclass(frozen=True)
class Inspection:
    """How many files of each kind were checked, and the damage found, sorted by path."""

    counts: dict[str, int]
    damages: tuple[Damage, ...]


Check = Callable[[], Damage | None]


def verify(
    repository: Path,
    root: Path | None,
    data_dir: Path,
    artifacts_dir: Path,
    on_progress: Callable[[int, int], None],
) -> Inspection:
    """Compare photos (given a `root`) with the hash that validate recorded, outs with dvc.lock,
    cache files with their names, and one scale's checkpoints with the hash inside;
    `on_progress` gets the files done and in all."""
    published = (artifacts_dir / "checkpoints").glob("*.pt")
    kinds: dict[str, list[Check]] = {
        "photos": list(_photo_checks(root, data_dir)) if root else [],
        "outs": list(_out_checks(repository)),
        "cache files": list(_cache_checks(repository / CACHE)),
        "checkpoints": [partial(_checkpoint, path) for path in published],
    }
    checks = [check for of_kind in kinds.values() for check in of_kind]
    damages = set()
    with ThreadPoolExecutor() as pool:  # hashing and reading release Python's lock
        for done, damage in enumerate(pool.map(lambda check: check(), checks), start=1):
            damages |= {damage} if damage else set()
            on_progress(done, len(checks))
    counts = {kind: len(of_kind) for kind, of_kind in kinds.items()}
    return Inspection(counts, tuple(sorted(damages)))


def _photo_checks(root: Path, data_dir: Path) -> Iterator[Check]:
    for path in sorted((data_dir / "crops").glob("*.arrow")):
        try:
            photos = CropStore(path).table[["image_path", "content_hash"]].drop_duplicates()
        except UserError as error:
            yield partial(Damage, str(path), error.fact, error.cure)
            continue
        for image_path, recorded in photos.itertuples(index=False):
            yield partial(_photo, root / image_path, recorded)


def _photo(path: Path, recorded: str) -> Damage | None:
    cure = "Restore the photo from the AI Hub archive; dvc repro reads it again."
    try:
        found = photos.content_hash(source.read(path, LARGEST_PHOTO_BYTES))
    except OSError as error:
        return Damage(str(path), f"cannot be read: {error.strerror}", cure)
    fact = "its bytes changed since validate read them"
    return None if found == recorded else Damage(str(path), fact, cure)


def _out_checks(repository: Path) -> Iterator[Check]:
    """One check per file that dvc.lock lists as a stage's out and that is here."""
    lock = repository / "dvc.lock"
    if not lock.is_file():
        return
    cure = "git checkout dvc.lock"
    try:
        stages = files.read_yaml(lock, cure)["stages"]
        outs = [out for stage in stages.values() for out in stage.get("outs", [])]
        recorded = {str(out["path"]): str(out["md5"]) for out in outs if "md5" in out}
    except (UserError, KeyError, TypeError, AttributeError) as error:
        yield partial(Damage, str(lock), f"is not a DVC lock file ({error})", cure)
        return
    for relative, md5 in recorded.items():
        path = repository / relative
        if path.is_file():
            yield partial(_file, path, md5, RESTORE)
        elif path.is_dir() and md5.endswith(".dir"):
            yield from _folder_checks(repository, path, md5)


def _folder_checks(repository: Path, folder: Path, md5: str) -> Iterator[Check]:
    """DVC lists a folder as [{md5, relpath}] in a cache file of its own, named .dir."""
    listing = repository / CACHE / md5[:2] / md5[2:]
    try:
        entries: list[dict[str, Any]] = json.loads(listing.read_bytes())
        recorded = {str(entry["relpath"]): str(entry["md5"]) for entry in entries}
    except FileNotFoundError:
        return  # pushed away or never cached: nothing to compare with
    except (ValueError, KeyError, TypeError):
        yield partial(Damage, str(listing), "is not a DVC folder listing", "dvc fetch")
        return
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for relative in recorded.keys() | found:
        md5 = recorded.get(relative, "that it is not there")
        yield partial(_file, folder / relative, md5, RESTORE)


def _cache_checks(cache: Path) -> Iterator[Check]:
    for path in cache.glob("??/*"):
        md5 = (path.parent.name + path.name).removesuffix(".dir")
        cure = f"rm {path}, then dvc fetch (or dvc repro): DVC itself does not notice."
        if len(md5) == 32:
            yield partial(_file, path, md5, cure)


def _file(path: Path, recorded: str, cure: str) -> Damage | None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, _md5).hexdigest()
    except OSError as error:
        return Damage(str(path), f"cannot be read: {error.strerror}", cure)
    fact = f"its hash is {found}, recorded is {recorded}"
    return None if found == recorded else Damage(str(path), fact, cure)


def _checkpoint(path: Path) -> Damage | None:
    try:
        checkpoints.load_published(path)
    except UserError as error:
        return Damage(str(path), error.fact.removeprefix(f"{path} "), error.cure)
    return None
