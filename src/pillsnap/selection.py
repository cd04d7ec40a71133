"""From an AI Hub tree to manifests: choose frames, read their labels, replace what is unusable."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pillsnap import aihub, candidates, fingerprint
from pillsnap.candidates import Candidates, Ints
from pillsnap.choice import NOWHERE, Choice, Chooser, Strangers
from pillsnap.findings import Findings
from pillsnap.fingerprint import Fingerprint
from pillsnap.label_reading import LabelReader, Task, reader
from pillsnap.labels import Drug, Expected, Reading
from pillsnap.params import ScaleParams

Progress = Callable[[int, int], None]
UNREAD = -1


@dataclass(frozen=True)
class Order:
    """What to build: a scale's numbers and what bears on them."""

    scale: str
    wanted: ScaleParams
    strangers: Strangers
    seed: int
    num_workers: int  # processes that read labels; 0: one per core
    keep_incomplete: bool  # combination frames that lack labels may be chosen


@dataclass(frozen=True)
class Selection:
    """The chosen frames with all their labels, and the account of how they were come by."""

    order: Order
    fingerprint: Fingerprint
    candidates: Candidates
    choice: Choice
    figures: NDArray[np.int32]  # [pills, 6] box x, y, w, h, frame w, h; or UNREAD
    drug: Ints  # [pills] number in drugs; UNREAD
    drugs: list[Drug]
    labels_read: int
    findings: Findings
    left_out: Findings


def build(root: Path, order: Order, recorded: Fingerprint | None, progress: Progress) -> Selection:
    """Scan, check the fingerprint, choose, read; DataError where the tree does not suffice."""
    labels_expected = order.wanted.samples + order.wanted.test_unknown_pills
    with reader(os.fspath(root), order.num_workers, labels_expected) as labels:
        tree = aihub.scan(root)
        found = fingerprint.of(tree)
        fingerprint.check(found, recorded, fingerprint.path_of(order.scale), root)
        left_out = Findings()
        incomplete = tree.findings if order.keep_incomplete else left_out
        frames = candidates.collect(tree, left_out, incomplete)
        book = _Book(frames, tree.findings, left_out)
        usable = frames.complete | order.keep_incomplete
        chooser = Chooser(frames, order.wanted, order.strangers, order.scale, order.seed)
        choice = chooser.choose(usable)
        while book.read(labels, choice.split, progress):  # some were refused: choose others
            choice = chooser.choose(usable & ~book.refused)
    return Selection(
        order, found, frames, choice, book.figures, book.drug, list(book.drugs), book.labels_read,
        tree.findings, left_out,
    )  # fmt: skip


class _Book:
    """What has been read of the labels so far."""

    def __init__(self, frames: Candidates, findings: Findings, left_out: Findings) -> None:
        self._frames = frames
        self._findings = findings
        self._left_out = left_out
        self.figures = np.full((len(frames.pill_frame), 6), UNREAD, dtype=np.int32)
        self.drug = np.full(len(frames.pill_frame), UNREAD)
        self.drugs: dict[Drug, int] = {}
        self.refused = np.zeros(len(frames.stems), dtype=bool)
        self.labels_read = 0
        self._read = np.zeros(len(frames.stems), dtype=bool)

    def read(self, labels: LabelReader, split: Ints, progress: Progress) -> bool:
        """Read the labels of chosen frames not read yet; whether any frame was refused."""
        frames = self._frames
        new = (split != NOWHERE) & ~self._read
        pills = np.flatnonzero(new[frames.pill_frame])
        reasons: dict[int, str] = {}
        readings = labels.read(map(self._task, pills.tolist()), len(pills), progress)
        for pill, reading in zip(pills.tolist(), readings, strict=True):
            self._note(pill, reading, reasons)
        self._read |= new
        self.labels_read += len(pills)
        self._compare_boxes(np.flatnonzero(new & ~frames.single), reasons)
        for frame in sorted(reasons):
            self._left_out.add(reasons[frame], frames.photo_path(frame))
            self.refused[frame] = True
        return bool(reasons)

    def _task(self, pill: int) -> Task:
        frames = self._frames
        frame = frames.pill_frame[pill]
        view = frames.views[frames.view[frame]]
        code, name = frames.codes[frames.pill_code[pill]], f"{frames.stems[frame]}.png"
        expected = Expected(code, name, view.latitude, view.longitude)
        return Task(frames.label_path(pill), expected)

    def _note(self, pill: int, reading: Reading, reasons: dict[int, str]) -> None:
        if reading.label:
            *figures, drug = reading.label
            self.figures[pill] = figures
            self.drug[pill] = self.drugs.setdefault(drug, len(self.drugs))
        else:
            reasons.setdefault(int(self._frames.pill_frame[pill]), reading.reason)
            reading.notes.append((reading.reason, reading.detail))
        for name, detail in reading.notes:
            path = self._frames.label_path(pill)
            self._findings.add(name, f"{path}: {detail}" if detail else path)

    def _compare_boxes(self, combinations: Ints, reasons: dict[int, str]) -> None:
        """Two codes on one box, or labels that disagree on the frame's size, spoil a frame."""
        frames = self._frames
        first = np.searchsorted(frames.pill_frame, combinations)
        last = np.searchsorted(frames.pill_frame, combinations, side="right")
        for frame, start, stop in zip(combinations, first, last, strict=True):
            if int(frame) in reasons:
                continue
            figures = self.figures[start:stop]
            if len(np.unique(figures[:, :4], axis=0)) < len(figures):
                reasons[int(frame)] = "codes_share_a_box"
            elif len(np.unique(figures[:, 4:], axis=0)) > 1:
                reasons[int(frame)] = "frame_sizes_differ"
            else:
                continue
            self._findings.add(reasons[int(frame)], frames.photo_path(frame))
