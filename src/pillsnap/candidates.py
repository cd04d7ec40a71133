"""The photos of a tree that could be used, each with its labels, told from names alone.

Arrays with an entry per frame or per pill: a 4 TB tree has 2.6 million frames.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pillsnap.aihub import (
    CODE,
    PARTS,
    TYPES,
    Folder,
    Tree,
    View,
    parse_codes,
    parse_view,
)
from pillsnap.findings import Findings

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

COMBINATION = -1
ROW = 7  # columns of a frame: folder, view, group, bytes, code, train, complete


@dataclass(frozen=True)
class Candidates:
    """Frames [n] and their labelled pills [p]; frames without any label are not in it."""

    folders: Sequence[Folder]
    codes: Sequence[str]  # K-codes, by number
    groups: Sequence[str]  # capture groups, by number
    views: Sequence[View]
    stems: Sequence[str]  # [n] file name without ending
    folder: Ints  # [n] of the photo
    view: Ints  # [n]
    group: Ints  # [n]
    code: Ints  # [n] of a single frame; COMBINATION for the others
    train: Flags  # [n] in AI Hub's train part, else in val
    photo_bytes: Ints  # [n]
    complete: Flags  # [n] as many labels as codes in the name
    pill_frame: Ints  # [p] frame of a pill, ascending
    pill_code: Ints  # [p]
    pill_folder: Ints  # [p] of the label

    @property
    def single(self) -> Flags:
        """[n] whether a frame shows one pill."""
        return np.asarray(self.code != COMBINATION)

    @property
    def pills(self) -> Ints:
        """[n] labelled pills of each frame."""
        return np.bincount(self.pill_frame, minlength=len(self.stems))

    def photo_path(self, frame: int) -> str:
        """A photo's path relative to the root, as on disk."""
        return f"{self.folders[self.folder[frame]].path}/{self.stems[frame]}.png"

    def label_path(self, pill: int) -> str:
        """The path of a pill's label relative to the root, as on disk."""
        stem = self.stems[self.pill_frame[pill]]
        return f"{self.folders[self.pill_folder[pill]].path}/{stem}.json"


def collect(tree: Tree, left_out: Findings, incomplete: Findings) -> Candidates:
    """Match photos with labels by stem, whatever their shards.

    The tree's findings grow by what is odd about single labels, `left_out` by the photos that
    cannot be used, `incomplete` by the combination frames that lack labels.
    """
    labels = _Labels(tree.findings)
    for number, folder in enumerate(tree.folders):
        if folder.kind == "labels":
            labels.take(number, folder)
    frames = _Frames(labels, left_out, incomplete)
    for number, folder in enumerate(tree.folders):
        if folder.kind == "images":
            frames.take(number, folder)
    for folder, stem in labels.unused(tree.folders, frames.met):
        tree.findings.add("label_without_photo", f"{folder.path}/{stem}.json")
    return frames.done(tree.folders)


class _Labels:
    """Numbers of the label folders that hold a stem, by part."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self.single: dict[str, dict[str, int]] = {part: {} for part in PARTS}
        self.combination: dict[str, dict[str, dict[str, int]]] = {part: {} for part in PARTS}

    def take(self, number: int, folder: Folder) -> None:
        """Note which labels a folder holds; its name says whose pill they are about."""
        single = folder.image_type == "single"
        code = folder.inner[-1] if folder.inner else ""
        code = code.removesuffix("_json") if single else code
        if not CODE.fullmatch(code):
            for name in folder.names:
                self._findings.add("label_outside_a_code_folder", f"{folder.path}/{name}")
            return
        for name in folder.names:
            stem = name[: -len(".json")]
            if single and stem.partition("_")[0] != code:
                self._findings.add("label_in_foreign_folder", f"{folder.path}/{name}")
                continue
            if single:
                first = self.single[folder.part].setdefault(stem, number)
            else:
                pills = self.combination[folder.part].setdefault(stem, {})
                first = pills.setdefault(code, number)
            if first != number:
                self._findings.add("label_twice", f"{folder.path}/{name}")

    def unused(
        self, folders: Sequence[Folder], met: dict[tuple[str, str], set[str]]
    ) -> Iterator[tuple[Folder, str]]:
        """Folder and stem of the labels whose photo was not met, sorted."""
        for part in PARTS:
            for stem in sorted(self.single[part].keys() - met[part, "single"]):
                yield folders[self.single[part][stem]], stem
            for stem in sorted(self.combination[part].keys() - met[part, "combination"]):
                for number in self.combination[part][stem].values():
                    yield folders[number], stem


class _Frames:
    """Collects the columns of Candidates, folder by folder."""

    def __init__(self, labels: _Labels, left_out: Findings, incomplete: Findings) -> None:
        self._labels = labels
        self._left_out = left_out
        self._incomplete = incomplete
        self.met: dict[tuple[str, str], set[str]] = {
            (part, image_type): set() for part in PARTS for image_type in TYPES
        }
        self._codes: dict[str, int] = {}
        self._groups: dict[str, int] = {}
        self._views: dict[View, int] = {}
        self._view_of: dict[str, tuple[View, int] | None] = {}
        self._stems: list[str] = []
        self._rows = array("q")  # [frames, ROW]
        self._pills = array("q")  # [pills, 3] frame, code, label folder

    def take(self, number: int, folder: Folder) -> None:
        """Add the photos of a folder that have a label."""
        met = self.met[folder.part, folder.image_type]
        named = folder.inner[-1] if folder.inner else ""
        codes = parse_codes(named) or ()
        right = bool(codes) and (len(codes) == 1) == (folder.image_type == "single")
        groups: dict[int, int] = {}  # capture group of a view, in this folder
        for name, size in zip(folder.names, folder.sizes, strict=True):
            stem = name[: -len(".png")]
            code_text, _, view_text = stem.partition("_")
            view = self._view(view_text)
            if view is None or not ((code_text == named and codes) or parse_codes(code_text)):
                self._left_out.add("name_not_understood", f"{folder.path}/{name}")
            elif code_text != named or not right:
                self._left_out.add("photo_in_foreign_folder", f"{folder.path}/{name}")
            elif stem in met:
                self._left_out.add("photo_twice", f"{folder.path}/{name}")
            else:
                met.add(stem)
                labels = self._labels_of(folder, stem, codes)
                if labels:
                    group = groups.get(view[1])
                    if group is None:
                        group = groups[view[1]] = self._group(named, len(codes) == 1, view[0])
                    self._add((number, view[1], group, size), folder, stem, labels, len(codes))

    def _view(self, text: str) -> tuple[View, int] | None:
        """A view and its number."""
        if text not in self._view_of:
            view = parse_view(text)
            number = self._views.setdefault(view, len(self._views)) if view else 0
            self._view_of[text] = (view, number) if view else None
        return self._view_of[text]

    def _group(self, name: str, single: bool, view: View) -> int:
        """The number of a photo's capture group."""
        group = f"{name}_b{view.back}_l{view.light}_d{view.direction}" if single else name
        return self._groups.setdefault(group, len(self._groups))

    def _labels_of(self, folder: Folder, stem: str, codes: tuple[str, ...]) -> dict[str, int]:
        """{code: label folder} of a photo; empty where it cannot be used."""
        if folder.image_type == "single":
            number = self._labels.single[folder.part].get(stem)
            if number is None:
                self._left_out.add("photo_without_label", f"{folder.path}/{stem}.png")
                return {}
            return {codes[0]: number}
        labels = self._labels.combination[folder.part].get(stem, {})
        foreign = sorted(labels.keys() - set(codes))
        path = f"{folder.path}/{stem}.png"
        if foreign:
            self._left_out.add("label_of_foreign_code", f"{path}: {', '.join(foreign)}")
            return {}
        if len(labels) < len(codes):
            self._incomplete.add("incomplete_combination", f"{path}: {len(labels)} of {len(codes)}")
        return labels

    def _add(
        self,
        row: tuple[int, int, int, int],
        folder: Folder,
        stem: str,
        labels: dict[str, int],
        named: int,
    ) -> None:
        """A frame of `named` codes: its folder, view, group and bytes, and its labels."""
        frame = len(self._stems)
        self._stems.append(stem)
        code = COMBINATION
        for text in sorted(labels) if len(labels) > 1 else labels:
            code = self._codes.setdefault(text, len(self._codes))
            self._pills.extend((frame, code, labels[text]))
        if folder.image_type != "single":
            code = COMBINATION
        self._rows.extend((*row, code, folder.part == "train", len(labels) == named))

    def done(self, folders: Sequence[Folder]) -> Candidates:
        """The columns as arrays."""
        rows = np.array(self._rows, dtype=np.int64).reshape(-1, ROW).T.copy()
        pills = np.array(self._pills, dtype=np.int64).reshape(-1, 3).T.copy()
        folder, view, group, photo_bytes, code, train, complete = rows
        return Candidates(
            folders, list(self._codes), list(self._groups), list(self._views), self._stems,
            folder, view, group, code, train.astype(bool), photo_bytes, complete.astype(bool),
            *pills,
        )  # fmt: skip
