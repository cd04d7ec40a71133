"""`pillsnap verify`: rehash everything on disk that has a recorded hash, and name what changed."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from pillsnap import files
from pillsnap.dataset import source
from pillsnap.dataset.crops import CropStore
from pillsnap.demo.progress import lines
from pillsnap.errors import UserError
from pillsnap.params import Params
from pillsnap.stage.engines import Engine
from pillsnap.validation import photos

CACHE = Path(".dvc/cache/files/md5")
RESTORE = "dvc checkout --force restores it from the cache; dvc repro makes it anew."
_md5 = partial(hashlib.md5, usedforsecurity=False)
LARGEST_PHOTO_BYTES = 2**30
CHUNK = 256  # photos per task of a cluster


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


def command(params: Params) -> int:
    """Verify the chosen scale and print what changed; 1 where anything did."""
    try:
        root = params.data_root()
    except UserError as error:
        print(f"photos are not checked: {error.fact}", file=sys.stderr)
        root = None
    folders, engine = (params.data_dir, params.artifacts_dir), Engine(params.validate_.engine)
    found = verify(Path(), root, *folders, engine, lines("hashing files"))
    for damage in found.damages:
        print(f"{damage.path}: {damage.fact}\n  -> {damage.cure}")
    checked = ", ".join(f"{count} {kind}" for kind, count in found.counts.items())
    print(f"checked {checked}: {len(found.damages)} damaged")
    return 1 if found.damages else 0


def verify(
    repository: Path,
    root: Path | None,
    data_dir: Path,
    artifacts_dir: Path,
    engine: Engine,
    on_progress: Callable[[int, int], None],
) -> Inspection:
    """Compare photos (given a `root`) with the hash that validate recorded, outs with dvc.lock,
    cache files with their names, and one scale's checkpoints with the hash inside; a cluster
    reads the photos. `on_progress` gets the files done and in all."""
    published = (artifacts_dir / "checkpoints").glob("*.pt")
    kinds: dict[str, list[Check]] = {
        "photos": list(_photo_checks(root.absolute(), data_dir)) if root else [],
        "outs": list(_out_checks(repository)),
        "cache files": list(_cache_checks(repository / CACHE)),
        "checkpoints": [partial(_checkpoint, path) for path in published],
    }
    counts = {kind: len(of_kind) for kind, of_kind in kinds.items()}
    far = [] if engine.is_local else kinds.pop("photos")
    near = [[check] for of_kind in kinds.values() for check in of_kind]
    chunks = [far[start : start + CHUNK] for start in range(0, len(far), CHUNK)]
    damages, done = set[Damage](), 0
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor())  # hashing and reading release the GIL
        found = threads.map(_run, near)
        if root and chunks:
            spread = stack.enter_context(engine.workers(root, __name__, ""))
            found = chain(spread(_run, chunks), found)
        for of_chunk in found:
            damages |= {damage for damage in of_chunk if damage}
            done += len(of_chunk)
            on_progress(done, sum(counts.values()))
    return Inspection(counts, tuple(sorted(damages)))


def _run(checks: list[Check]) -> list[Damage | None]:
    return [check() for check in checks]


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
    from pillsnap.training import checkpoints  # torch, which a cluster's workers do not need

    try:
        checkpoints.load_published(path)
    except UserError as error:
        return Damage(str(path), error.fact.removeprefix(f"{path} "), error.cure)
    return None
