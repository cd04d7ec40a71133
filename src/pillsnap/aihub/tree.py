"""Scans an AI Hub tree (data set 576) for photo and label files.

Layout and file names: data/README.md. Nothing is ever written under the root.
"""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from pillsnap.dataset.findings import EXAMPLES_KEPT, Findings
from pillsnap.dataset.names import nfc
from pillsnap.errors import DataError
from pillsnap.stage.pool import Spread

PARTS = ("train", "val")
KINDS = {"images": ".png", "labels": ".json"}
TYPES = ("single", "combination")


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that contains photos or labels."""

    path: str  # as on disk, relative to the root, with /
    part: str  # train | val
    kind: str  # images | labels
    image_type: str  # single | combination
    shard: str  # TS_1_single
    inner: tuple[str, ...]  # the folders under the shard, in NFC
    names: tuple[str, ...]  # file names as on disk, sorted
    sizes: tuple[int, ...]  # bytes


@dataclass(frozen=True)
class Tree:
    """All photo and label folders of a root, sorted by path, and the irregularities found."""

    root: Path
    folders: tuple[Folder, ...]
    findings: Findings = field(default_factory=Findings)


class _Share(NamedTuple):
    """The part of a tree that one walk covers."""

    root: Path
    tops: list[tuple[str, str, str, str]]
    which: slice


class _Walked(NamedTuple):
    folders: list[Folder]
    findings: Findings
    entered: set[tuple[int, int]]  # device and inode of the folders under the tops


def scan(root: Path, spread: Spread = map) -> Tree:
    """Walk `<root>/{train,val}` or `<root>/data/{train,val}`; each folder is entered once.

    Symbolic links are followed. Irregularities become findings. DataError where neither folder
    exists. `spread` may walk images and labels, single and combination, in parallel.
    """
    tops = _tops(root)
    shares = [_Share(root, tops, slice(at, at + 1)) for at in range(len(tops))]
    status = [(root / path).stat() for path, *_ in tops]
    apart = len({(one.st_dev, one.st_ino) for one in status}) == len(tops)
    walks = list(spread(_walk, shares)) if apart else []
    entered = [identity for walk in walks for identity in walk.entered]
    if not apart or len(set(entered)) < len(entered):  # links between them: one walk for all
        walks = [_walk(_Share(root, tops, slice(None)))]
    folders = tuple(folder for walk in walks for folder in walk.folders)
    return Tree(root, folders, _merged(walk.findings for walk in walks))


def _merged(parts: Iterable[Findings]) -> Findings:
    findings = Findings()
    for part in parts:
        for name, count in part.counts.items():
            examples = findings.examples.get(name, []) + part.examples[name]
            findings.examples[name] = examples[:EXAMPLES_KEPT]
            findings.counts[name] = findings.counts.get(name, 0) + count
    return findings


def _walk(share: _Share) -> _Walked:
    walk = _Walk(share.root)
    for path, *_ in share.tops:  # first, so that no link elsewhere claims them
        walk.enter(path, (share.root / path).stat())
    tops = frozenset(walk.entered)
    for path, part, kind, image_type in share.tops[share.which]:
        walk.top(path, part, kind, image_type)
    return _Walked(walk.folders, walk.findings, walk.entered - tops)


def _tops(root: Path) -> list[tuple[str, str, str, str]]:
    for prefix in ("", "data/"):
        parts = [part for part in PARTS if (root / prefix / part).is_dir()]
        tops = [
            (f"{prefix}{part}/{kind}/{image_type}", part, kind, image_type)
            for part in parts
            for kind in KINDS
            for image_type in TYPES
        ]
        if parts:
            return [top for top in tops if (root / top[0]).is_dir()]
    raise DataError(
        f"{root} holds neither train/ and val/ nor data/train/ and data/val/.",
        "Set PILLSNAP_DATA_ROOT (or data.root) to the folder that contains train/ and val/.",
    )


class _Walk:
    def __init__(self, root: Path) -> None:
        self.root = os.fspath(root)
        self.folders: list[Folder] = []
        self.findings = Findings()
        self.entered: set[tuple[int, int]] = set()

    def enter(self, path: str, status: os.stat_result) -> bool:
        """Whether a folder is entered for the first time, whatever its path."""
        identity = (status.st_dev, status.st_ino)
        if identity in self.entered:
            self.findings.add("folder_linked_twice", path)
            return False
        self.entered.add(identity)
        return True

    def top(self, path: str, part: str, kind: str, image_type: str) -> None:
        """Walk the shards under e.g. train/images/single, depth first in NFC order."""
        stack: list[tuple[str, tuple[str, ...]]] = [(path, ())]
        while stack:
            here, inside = stack.pop()
            folders, names, sizes = self._list(here, KINDS[kind])
            if names:
                shard, inner = (inside[0], inside[1:]) if inside else ("", ())
                self.folders.append(
                    Folder(here, part, kind, image_type, shard, inner, tuple(names), tuple(sizes))
                )
            stack += [(f"{here}/{name}", (*inside, nfc(name))) for name in reversed(folders)]

    def _list(self, path: str, ending: str) -> tuple[list[str], list[str], list[int]]:
        """Names of the folders to enter; names and bytes of the photos or labels. All sorted."""
        try:
            descriptor = os.open(f"{self.root}/{path}", os.O_RDONLY | os.O_DIRECTORY)
            try:
                return self._sorted(path, ending, descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            self.findings.add("folder_unreadable", f"{path}: {error.strerror}")
            return [], [], []

    def _sorted(
        self, path: str, ending: str, descriptor: int
    ) -> tuple[list[str], list[str], list[int]]:
        """Relative to the open folder: the kernel then resolves no path for each entry."""
        folders: list[str] = []
        names: list[str] = []
        sizes: list[int] = []
        for entry in _entries(descriptor):
            name = entry.name
            if (name[0] == "." or name[-9:] == "index.png" or not name.isascii()) and (
                self._skipped(path, name)
            ):
                continue
            try:
                status = entry.stat()
            except OSError as error:
                self.findings.add("link_broken", f"{path}/{name}: {error.strerror}")
                continue
            if stat.S_ISREG(status.st_mode) and name.endswith(ending):
                names.append(name)
                sizes.append(status.st_size)
            elif not stat.S_ISDIR(status.st_mode):
                self.findings.add("file_ignored", f"{path}/{name}")
            elif self.enter(f"{path}/{name}", status):
                folders.append(name)
        return folders, names, sizes

    def _skipped(self, path: str, name: str) -> bool:
        """Whether a name is to be skipped; such names are counted."""
        if name.startswith("._"):
            self.findings.add("macos_file", f"{path}/{_shown(name)}")
        elif name.endswith("index.png"):
            self.findings.add("contact_sheet", f"{path}/{_shown(name)}")
        elif not name.isascii() and _shown(name) != name:
            self.findings.add("name_not_utf8", f"{path}/{_shown(name)}")
        else:
            return False
        return True


def _entries(descriptor: int) -> "list[os.DirEntry[str]]":
    with os.scandir(descriptor) as listing:
        entries = list(listing)
    ascii_only = all(entry.name.isascii() for entry in entries)
    return sorted(entries, key=attrgetter("name") if ascii_only else _in_nfc)


def _in_nfc(entry: "os.DirEntry[str]") -> str:
    name = entry.name
    return name if name.isascii() else f"{nfc(name)}/{name}"


def _shown(name: str) -> str:
    """`name` for messages: bytes that are not UTF-8 become question marks."""
    return name.encode("utf-8", "replace").decode("utf-8")
