"""Scans a root for AI Hub's photos and labels (data set 576): the download as it is, in zip
archives or unpacked, or a rearranged tree. data/README.md shows the layouts.

Part, kind and code of a file are read from its path; nothing is ever written under the root.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from pillsnap.dataset import source
from pillsnap.dataset.findings import Findings
from pillsnap.dataset.names import CODE, nfc, parse_codes
from pillsnap.stage.pool import Spread

PARTS = ("train", "val")
KINDS = {".png": "images", ".json": "labels"}
TYPES = ("single", "combination")
PART = re.compile(r"(?:[0-9]+[._ -]*)?(train|val)", re.IGNORECASE)  # 1.Training, val
SHARD = re.compile(r"([TV])([SL])_([0-9]+)(?![0-9])")  # TS_1_단일: part, images or labels, number
LABELS = re.compile(r"(?:^|/)[TV]L_[0-9]+[^/]*$|_json$")  # a shard that holds no photo
COCO = "coco_file"  # a finding: a JSON file that is not named like a pill's label
UNFINISHED = re.compile(r"\.zip\.(?:part[0-9]*|crdownload|download)$", re.IGNORECASE)
TASKS = 64  # that the shards are dealt out to, each a mixture: they take about equally long
Files = dict[str, int]  # bytes by name


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder, on disk or in an archive, that contains photos or labels with one ending."""

    path: str  # as on disk, relative to the root, with /
    part: str  # train | val
    kind: str  # images | labels
    image_type: str  # single | combination
    shard: str  # TS_1_single
    name: str  # of the folder itself, in NFC; else the codes in the names of its photos
    ending: str  # .png | .json, as on disk
    names: tuple[str, ...]  # file names as on disk, sorted
    sizes: tuple[int, ...]  # bytes

    def path_of(self, stem: str) -> str:
        """The path of a file relative to the root; without an ending, `path` itself is the file."""
        if not self.ending:
            return self.path
        return f"{self.path}/{stem}{self.ending}" if self.path else f"{stem}{self.ending}"


@dataclass(frozen=True)
class Tree:
    """All photo and label folders of a root, sorted by path, and the irregularities found."""

    root: Path
    folders: tuple[Folder, ...]
    findings: Findings = field(default_factory=Findings)


def scan(
    root: Path, spread: Spread = map, progress: Callable[[int, int], None] = lambda *_: None
) -> Tree:
    """Find the photos and labels under `root`; each folder and archive is entered once.

    Symbolic links are followed. Irregularities become findings, unreadable archives and folders
    among them; DataError where the root itself cannot be listed. `spread` may scan in parallel;
    `progress(done, total)` counts the shards.
    """
    outer, done = _outer(root), 0
    tasks = [outer.shards[at::TASKS] for at in range(min(TASKS, len(outer.shards)))]
    walks: list[_Walk] = []
    for walk in spread(partial(_walk, os.fspath(root), frozenset(outer.entered)), tasks):
        done += len(tasks[len(walks)])
        walks.append(walk)
        progress(done, len(outer.shards))
    entered = [identity for walk in walks for identity in walk.entered]
    if len(set(entered)) < len(entered):  # links between shards: one walk for all
        walks = [_walk(os.fspath(root), frozenset(outer.entered), outer.shards)]
    findings = outer.findings
    for walk in walks:
        findings.merge(walk.findings)
    folders = [*outer.folders, *(folder for walk in walks for folder in walk.folders)]
    folders.sort(key=lambda one: (nfc(one.path).split("/"), one.path, one.ending, one.name))
    return Tree(root, tuple(folders), findings)


def sample(root: Path, count: int) -> list[str]:
    """Paths of some photos, from as many shards as possible, without scanning them whole."""
    outer, paths = _outer(root), list[str]()
    shards = [path for path in outer.shards if not LABELS.search(path)]
    walks = [_Walk(os.fspath(root), outer.entered).below(path) for path in shards[:count]]
    each = max(1, -(-count // max(1, len(walks))))
    for folders in [*walks, outer.folders]:
        images = (one for one in folders if one.kind == "images")
        paths += islice((f"{one.path}/{name}" for one in images for name in one.names), each)
    return paths[:count]


def _outer(root: Path) -> "_Walk":
    """The folders above the shards, entered; their `shards` are the folders and archives below."""
    source.check_root(root)
    walk = _Walk(os.fspath(root), set())
    walk.enter("", root.stat())
    walk.folders = list(walk.below("", outer=True))
    return walk


def _walk(root: str, entered: frozenset[tuple[int, int]], shards: list[str]) -> "_Walk":
    walk = _Walk(root, set(entered))
    walk.folders = [folder for path in shards for folder in walk.below(path)]
    walk.entered -= entered
    return walk


class _Walk:
    def __init__(self, root: str, entered: set[tuple[int, int]]) -> None:
        self.root = root
        self.entered = entered  # device and inode
        self.findings = Findings()
        self.folders: list[Folder] = []
        self.shards: list[str] = []

    def enter(self, path: str, status: os.stat_result) -> bool:
        """Whether a folder or archive is entered for the first time, whatever its path."""
        identity = (status.st_dev, status.st_ino)
        if identity in self.entered:
            self.findings.add("folder_linked_twice", path)
            return False
        self.entered.add(identity)
        return True

    def below(self, top: str, *, outer: bool = False) -> Iterator[Folder]:
        """Folders with photos or labels in `top`, a folder or archive that has been entered.

        `outer`: what is a shard or the folder of a code is not listed but added to `shards`.
        """
        stack = [top]
        while stack:
            here = stack.pop()
            if outer and _is_shard(here):
                self.shards.append(here)
            elif _is_archive(here):
                yield from self._in_archive(here)
            else:
                inner, files = self._list(here)
                yield from self._sorted_out(here, files)
                stack += reversed(inner)

    def _list(self, path: str) -> tuple[list[str], Files]:
        """Paths of the folders and archives to enter, and the files: both sorted."""
        inner: list[str] = []
        files: Files = {}
        try:
            descriptor = os.open(f"{self.root}/{path}", os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            self.findings.add("folder_unreadable", f"{path}: {error.strerror}")
            return inner, files
        try:
            # Relative to the open folder: the kernel then resolves no path for each entry.
            with os.scandir(descriptor) as listing:
                entries = sorted(listing, key=lambda entry: nfc(entry.name))
            if not path and any(PART.match(entry.name) and entry.is_dir() for entry in entries):
                # The tree begins here; the folders of a scale's own outputs may be beside it.
                entries = [one for one in entries if PART.match(one.name) or not one.is_dir()]
            for entry in entries:
                here = f"{path}/{entry.name}" if path else entry.name
                if self._skipped(here, entry.name):
                    continue
                try:
                    status = entry.stat()
                except OSError as error:
                    self.findings.add("link_broken", f"{here}: {error.strerror}")
                    continue
                is_file = stat.S_ISREG(status.st_mode)
                if stat.S_ISDIR(status.st_mode) or (is_file and _is_archive(here)):
                    if self.enter(here, status):
                        inner.append(here)
                elif is_file:
                    files[entry.name] = status.st_size
                else:
                    self.findings.add("file_ignored", here)
        except OSError as error:
            self.findings.add("folder_unreadable", f"{path}: {error.strerror}")
        finally:
            os.close(descriptor)
        return inner, files

    def _in_archive(self, path: str) -> Iterator[Folder]:
        try:
            found = source.members(f"{self.root}/{path}")
        except OSError as error:
            self.findings.add("archive_unreadable", f"{path}: {error.strerror}")
            return
        by_folder: dict[str, Files] = {}
        for member, size in sorted(found.items()):
            folder, _, name = f"{path}/{member}".rpartition("/")
            if not name or "" in (parts := folder.split("/")) or ".." in parts:
                self.findings.add("file_ignored", f"{folder}/{name}")
            elif not self._skipped(f"{folder}/{name}", name):
                by_folder.setdefault(folder, {})[name] = size
        for folder, files in sorted(by_folder.items()):
            yield from self._sorted_out(folder, files)

    def _skipped(self, path: str, name: str) -> bool:
        """Whether a name is to be skipped; such names are counted."""
        if name[0] != "." and name[-9:] != "index.png" and name.isascii():
            return False  # nearly all
        if name.startswith("._") or name == "__MACOSX":
            self.findings.add("macos_file", shown(path))
        elif name.endswith("index.png"):
            self.findings.add("contact_sheet", shown(path))
        elif shown(path) != path:
            self.findings.add("name_not_utf8", shown(path))
        else:
            return False
        return True

    def _sorted_out(self, path: str, files: Files) -> Iterator[Folder]:
        """The photos and the labels among a folder's files; those with another ending apart."""
        by_ending: dict[str, list[str]] = {}
        for name in files:
            by_ending.setdefault(name[max(name.rfind("."), 0) :], []).append(name)
        names = nfc(path).split("/")
        part = _part(names)
        for ending, found in by_ending.items():
            kind, groups = KINDS.get(ending.lower(), ""), {names[-1]: found}
            if not (kind and part and parse_codes(names[-1].removesuffix("_json"))):
                groups = self._by_codes(path, part, kind, found)
            for name, group in groups.items():
                group.sort()
                yield Folder(
                    path, part, kind, image_type := _type([*names[:-1], name], kind),
                    _shard(names, image_type), name, ending, tuple(group),
                    tuple(map(files.__getitem__, group)),
                )  # fmt: skip

    def _by_codes(self, path: str, part: str, kind: str, found: list[str]) -> dict[str, list[str]]:
        """Files of a folder that is not named by codes, by those in their own names.

        What is neither a photo nor a label of a part becomes a finding.
        """
        groups: dict[str, list[str]] = {}
        folder = nfc(path.rpartition("/")[2])
        for name in found:
            if UNFINISHED.search(name):
                reason = "download_unfinished"
            elif kind == "labels" and "K-" not in name:
                reason = COCO
            elif kind and part:
                codes = name.partition("_")[0]
                listed = kind == "images" and parse_codes(codes)
                groups.setdefault(codes if listed else folder, []).append(name)
                continue
            else:
                reason = "file_outside_train_and_val" if kind else "file_ignored"
            self.findings.add(reason, f"{path}/{name}" if path else name)
        return groups


def shown(path: str) -> str:
    """`path` for messages: bytes that are not UTF-8 become question marks."""
    return path.encode("utf-8", "replace").decode("utf-8")


def _is_archive(path: str) -> bool:
    return path[-4:].lower() == source.ARCHIVE


def _is_shard(path: str) -> bool:
    name = path.rpartition("/")[2]
    return _is_archive(path) or SHARD.match(name) is not None or CODE.match(name) is not None


def _part(names: list[str]) -> str:
    """From the innermost folder that names a part, else from the shard; "" where none does."""
    for name in reversed(names):
        if found := PART.match(name):
            return found[1].lower()
    letters = [found[1] for name in names if (found := SHARD.match(name))]
    return {"T": "train", "V": "val"}[letters[-1]] if letters else ""


def _type(names: list[str], kind: str) -> str:
    """Combinations are in a folder that lists their codes; their labels in one more, of a code."""
    listing = names[-1] if kind == "images" else names[-2:][0].removesuffix("_json")
    return "combination" if len(parse_codes(listing) or ()) > 1 else "single"


def _shard(names: list[str], image_type: str) -> str:
    """`TS_1_single`, however the shard is named on disk; else the folder around the codes'."""
    outer = [name for name in names if not CODE.match(name)]
    for name in reversed(outer):
        if found := SHARD.match(name):
            ending = "combo" if image_type == "combination" else "single"
            return f"{found[1]}{found[2]}_{found[3]}_{ending}"
    return outer[-1] if outer else ""
