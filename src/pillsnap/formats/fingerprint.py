"""The version of the external data: count, bytes and a hash over all paths and sizes."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pillsnap import files
from pillsnap.aihub import tree as aihub
from pillsnap.aihub.tree import Tree
from pillsnap.dataset import names, pictures, source
from pillsnap.errors import DataError
from pillsnap.formats import listing
from pillsnap.formats.listing import Files

AIHUB = "aihub"  # data.format
FINGERPRINTS_DIR = Path("data/fingerprints")


@dataclass(frozen=True)
class Fingerprint:
    """Number of photos and labels in a tree, their bytes, sha256 over paths and sizes."""

    count: int
    bytes: int
    sha256: str


def take(
    root: Path, form: str = AIHUB, progress: Callable[[int, int], None] = lambda *_: None
) -> Fingerprint:
    """Fingerprint of the set under `root`, from names and sizes; no photo is opened. Of the other
    forms than AI Hub's, labels are: corrected ones often keep their size."""
    if form == AIHUB:
        return of(aihub.scan(root, progress=progress))
    return of_files(root, listing.walk(root))


def of_files(root: Path, found: Files) -> Fingerprint:
    """The fingerprint of a set in another form, given its files; DataError without a picture."""
    if not listing.pictures(found):
        archives = [path for path in found if listing.suffix(path) == source.ARCHIVE]
        unpack = f"Unpack {archives[0]} in its folder. " if archives else ""
        raise DataError(
            f"{root} holds no picture ({', '.join(sorted(pictures.SUFFIXES))}).",
            f"{unpack}Set PILLSNAP_DATA_ROOT (or data.root) to the folder that the photos are in.",
        )
    used = [path for path in found if listing.suffix(path) in listing.PICTURES | listing.LABELS]
    return _fingerprint(list(_lines(root, used, found)), sum(found[path] for path in used))


def _lines(root: Path, used: list[str], found: Files) -> Iterator[str]:
    for path in used:
        line = f"{path}\0{found[path]}"
        if listing.suffix(path) in listing.LABELS:
            line += f"\0{files.sha256_of(root / path)}"
        yield names.nfc(f"{line}\n")


def of(tree: Tree) -> Fingerprint:
    """sha256 over the sorted lines `relative path NUL size newline`, paths in NFC with /.

    DataError where there is no photo.
    """
    lines = [
        names.nfc(f"{folder.path}/{name}\0{size}\n")
        for folder in tree.folders
        for name, size in zip(folder.names, folder.sizes, strict=True)
    ]
    kinds = {folder.kind for folder in tree.folders}
    if aihub.COCO in tree.findings.counts and "labels" not in kinds:
        raise DataError(
            f"{tree.root} looks like a flat COCO set: its labels are in one file for many photos, "
            f"{tree.findings.examples[aihub.COCO][0]}.",
            "Write one JSON file per photo and pill, named like the photo, into a folder "
            "K-######_json per code. data/README.md shows the layouts and the keys.",
        )
    if "images" not in kinds:
        raise DataError(
            f"{tree.root} holds no photo (.png) of AI Hub's train or val part."
            + tree.findings.largest(),
            "Set PILLSNAP_DATA_ROOT (or data.root) to the folder that AI Hub's download is in, "
            "unpacked or not. data/README.md shows the layouts.",
        )
    total_bytes = sum(sum(folder.sizes) for folder in tree.folders)
    return _fingerprint(lines, total_bytes)


def _fingerprint(lines: list[str], total_bytes: int) -> Fingerprint:
    lines.sort()
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode())
    return Fingerprint(len(lines), total_bytes, digest.hexdigest())


def path_of(scale: str) -> Path:
    """Path of a scale's fingerprint, relative to the repository."""
    return FINGERPRINTS_DIR / f"{scale}.json"


def write(path: Path, scale: str, fingerprint: Fingerprint) -> None:
    """Write a fingerprint."""
    files.write_json(path, {"scale": scale, **asdict(fingerprint)})


def read(path: Path) -> Fingerprint | None:
    """The recorded fingerprint; None: not taken yet."""
    if not path.exists():
        return None
    cure = "Run `pillsnap fingerprint` to write it again."
    values = files.read_json(path, cure)
    unset = values.get("sha256", "") is None
    return None if unset else files.typed(values, Fingerprint, path, cure)


def check(found: Fingerprint, recorded: Fingerprint | None, path: Path, root: Path) -> None:
    """DataError unless the fingerprint found is the recorded one."""
    if recorded is None:
        raise DataError(
            f"{path} has no fingerprint yet; {root} has {found.count:,} photos and labels "
            f"({found.bytes:,} bytes).",
            "Run `pillsnap fingerprint` to record this tree, then repeat the command.",
        )
    if found != recorded:
        raise DataError(
            f"{root} is not the tree recorded in {path}: found {found.count:,} photos and labels "
            f"({found.bytes:,} bytes), recorded {recorded.count:,} ({recorded.bytes:,} bytes)"
            + ("." if found.count != recorded.count else "; names or sizes differ."),
            "Set PILLSNAP_DATA_ROOT (or data.root) to the recorded tree, or run "
            "`pillsnap fingerprint` to record this one.",
        )
