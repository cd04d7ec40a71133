"""The usable photos of a tree and their labels, read from file names only.

Arrays with an entry per photo or per pill: a 4 TB tree has 2.6 million photos.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pillsnap.aihub.tree import PARTS, TYPES, Folder, Tree
from pillsnap.arrays import Bools, Ints
from pillsnap.dataset.findings import Findings
from pillsnap.dataset.names import CODE, View, parse_codes, parse_view

COMBINATION = -1
Photo = tuple[str, int, tuple[int, str]]  # stem, bytes, view's number and its group's name
ROW = 7  # columns of a frame: folder, view, group, bytes, code, train, complete


@dataclass(frozen=True)
class Candidates:
    """Photos (frames) [n] and their labelled pills [p]; photos without a label are left out."""

    folders: Sequence[Folder]
    codes: Sequence[str]  # K-codes, by number
    groups: Sequence[str]  # capture groups, by number
    views: Sequence[View]
    stems: Sequence[str]  # [n] file name without ending
    folder: Ints  # [n] of the photo
    view: Ints  # [n]
    group: Ints  # [n]
    code: Ints  # [n] of a single frame; COMBINATION for the others
    train: Bools  # [n] in AI Hub's train part, else in val
    photo_bytes: Ints  # [n]
    complete: Bools  # [n] as many labels as codes in the name
    pill_frame: Ints  # [p] frame of a pill, ascending
    pill_code: Ints  # [p]
    pill_folder: Ints  # [p] of the label

    @property
    def single(self) -> Bools:
        """[n] whether a frame shows one pill."""
        return np.asarray(self.code != COMBINATION)

    @property
    def pills(self) -> Ints:
        """[n] labelled pills of each frame."""
        return np.bincount(self.pill_frame, minlength=len(self.stems))

    def photo_path(self, frame: int) -> str:
        """A photo's path relative to the root, as on disk."""
        folder: Folder = self.folders[self.folder[frame]]
        return folder.path_of(self.stems[frame])

    def label_path(self, pill: int) -> str:
        """The path of a pill's label relative to the root, as on disk."""
        folder: Folder = self.folders[self.pill_folder[pill]]
        return folder.path_of(self.stems[self.pill_frame[pill]])


def collect(tree: Tree, left_out: Findings) -> Candidates:
    """Match photos with labels by file name, whatever their shards.

    Irregular labels are added to the tree's findings; photos that cannot be used, combinations
    that lack labels among them, to `left_out`.
    """
    labels = _Labels(tree.findings)
    for number, folder in enumerate(tree.folders):
        if folder.kind == "labels":
            labels.take(number, folder)
    frames = _Frames(labels, left_out)
    for number, folder in enumerate(tree.folders):
        if folder.kind == "images":
            frames.take(number, folder)
    for folder, stem in labels.unused(tree.folders, frames.seen):
        tree.findings.add("label_without_photo", f"{folder.path}/{stem}{folder.ending}")
    return frames.done(tree.folders)


class _Labels:
    """For each file stem, the numbers of the folders with its labels, by part."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self.single: dict[str, dict[str, int]] = {part: {} for part in PARTS}
        self.combination: dict[str, dict[str, dict[str, int]]] = {part: {} for part in PARTS}

    def take(self, number: int, folder: Folder) -> None:
        """Add the labels of a folder, whose name gives the code."""
        single = folder.image_type == "single"
        code = folder.name.removesuffix("_json") if single else folder.name
        if not CODE.fullmatch(code):
            for name in folder.names:
                self._findings.add("label_outside_a_code_folder", f"{folder.path}/{name}")
            return
        singles, combinations = self.single[folder.part], self.combination[folder.part]
        for name in folder.names:
            stem = name[: -len(folder.ending)]
            own, key = (singles, stem) if single else (combinations.setdefault(stem, {}), code)
            if single and stem.partition("_")[0] != code:
                self._findings.add("label_in_wrong_folder", f"{folder.path}/{name}")
            elif own.setdefault(key, number) != number:
                self._findings.add("label_duplicated", f"{folder.path}/{name}")

    def unused(
        self, folders: Sequence[Folder], photos: dict[tuple[str, str], set[str]]
    ) -> Iterator[tuple[Folder, str]]:
        """Folder and stem of the labels without a photo, sorted."""
        for part in PARTS:
            for stem in sorted(self.single[part].keys() - photos[part, "single"]):
                yield folders[self.single[part][stem]], stem
            for stem in sorted(self.combination[part].keys() - photos[part, "combination"]):
                for number in self.combination[part][stem].values():
                    yield folders[number], stem


class _Frames:
    """Collects the columns of Candidates, folder by folder."""

    def __init__(self, labels: _Labels, left_out: Findings) -> None:
        self._labels = labels
        self._left_out = left_out
        self.seen: dict[tuple[str, str], set[str]] = {
            (part, image_type): set() for part in PARTS for image_type in TYPES
        }
        self._codes: dict[str, int] = {}
        self._groups: dict[str, int] = {}
        self._numbers: dict[View, int] = {}
        self._views: dict[str, tuple[int, str]] = {}
        self._stems: list[str] = []
        self._rows = array("q")  # [frames, ROW]
        self._pills = array("q")  # [pills, 3] frame, code, label folder

    def take(self, number: int, folder: Folder) -> None:
        """Add the photos of a folder that have a label."""
        codes = parse_codes(folder.name) or ()
        single, train = folder.image_type == "single", folder.part == "train"
        for stem, size, (view, setting) in self._photos(folder, bool(codes)):
            labels = self._labels_of(folder, stem, codes)
            if not labels:
                continue
            name = f"{folder.name}_{setting}" if single else folder.name
            group = self._groups.setdefault(name, len(self._groups))
            for code in sorted(labels):
                pill = self._codes.setdefault(code, len(self._codes))
                self._pills.extend((len(self._stems), pill, labels[code]))
            self._stems.append(stem)
            of_code, complete = pill if single else COMBINATION, len(labels) == len(codes)
            self._rows.extend((number, view, group, size, of_code, train, complete))

    def _photos(self, folder: Folder, right: bool) -> Iterator[Photo]:
        """The photos that belong in a folder of this name, each once; `right`: it lists codes."""
        named = folder.name
        seen = self.seen[folder.part, folder.image_type]
        for name, size in zip(folder.names, folder.sizes, strict=True):
            stem = name[: -len(folder.ending)]
            code_text, _, view_text = stem.partition("_")
            view = self._views.get(view_text) or self._view(view_text)
            if view is None or not ((right and code_text == named) or parse_codes(code_text)):
                self._left_out.add("file_name_invalid", f"{folder.path}/{name}")
            elif code_text != named or not right:
                self._left_out.add("photo_in_wrong_folder", f"{folder.path}/{name}")
            elif stem in seen:
                self._left_out.add("photo_duplicated", f"{folder.path}/{name}")
            else:
                seen.add(stem)
                yield stem, size, view

    def _view(self, text: str) -> tuple[int, str] | None:
        """The number of a view, and the last part of its capture group's name."""
        view = parse_view(text)
        if view is None:
            return None
        number = self._numbers.setdefault(view, len(self._numbers))
        self._views[text] = number, f"b{view.back}_l{view.light}_d{view.direction}"
        return self._views[text]

    def _labels_of(self, folder: Folder, stem: str, codes: tuple[str, ...]) -> dict[str, int]:
        """{code: label folder} of a photo; empty where it cannot be used."""
        if folder.image_type == "single":
            label = self._labels.single[folder.part].get(stem)
            if label is not None:
                return {folder.name: label}
            self._left_out.add("photo_without_label", f"{folder.path}/{stem}{folder.ending}")
            return {}
        labels = self._labels.combination[folder.part].get(stem, {})
        foreign = sorted(labels.keys() - set(codes))
        path = f"{folder.path}/{stem}{folder.ending}"
        if foreign:
            self._left_out.add("label_of_another_code", f"{path}: {', '.join(foreign)}")
            return {}
        if len(labels) < len(codes):
            self._left_out.add("incomplete_combination", f"{path}: {len(labels)} of {len(codes)}")
        return labels

    def done(self, folders: Sequence[Folder]) -> Candidates:
        """The columns as arrays."""
        rows = np.array(self._rows, dtype=np.int64).reshape(-1, ROW).T.copy()
        pills = np.array(self._pills, dtype=np.int64).reshape(-1, 3).T.copy()
        folder, view, group, photo_bytes, code, train, complete = rows
        return Candidates(
            folders, list(self._codes), list(self._groups), list(self._numbers), self._stems,
            folder, view, group, code, train.astype(bool), photo_bytes, complete.astype(bool),
            *pills,
        )  # fmt: skip
