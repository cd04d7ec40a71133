"""From an AI Hub tree to manifests: choose frames, read their labels, replace what is unusable."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pillsnap.aihub import fingerprint, reading
from pillsnap.aihub import tree as aihub
from pillsnap.aihub.fingerprint import Fingerprint
from pillsnap.aihub.labels import Drug
from pillsnap.aihub.reading import FIGURES, UNREAD, Batch
from pillsnap.arrays import Ints
from pillsnap.dataset.findings import Findings
from pillsnap.manifest import candidates
from pillsnap.manifest.candidates import Candidates
from pillsnap.manifest.choice import NOWHERE, Choice, Chooser, Strangers
from pillsnap.params import ScaleParams
from pillsnap.stage import pool
from pillsnap.stage.pool import Spread

Progress = Callable[[int, int], None]
FEW = 5000  # labels that one process reads before others would have started
KILLED = "Set build_manifest.num_workers to 1, or free memory, then run dvc repro."


@dataclass(frozen=True)
class Order:
    """What to build: a scale's numbers and what bears on them."""

    scale: str
    wanted: ScaleParams
    strangers: Strangers
    seed: int
    num_workers: int  # processes that read labels; 0: one per core


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
    few = order.wanted.samples + order.wanted.test_unknown_pills <= FEW
    count = 1 if few else order.num_workers
    with pool.workers(count, reading.__name__, KILLED) as spread:
        tree = aihub.scan(root, spread)
        found = fingerprint.of(tree)
        fingerprint.check(found, recorded, fingerprint.path_of(order.scale), root)
        left_out = Findings()
        frames = candidates.collect(tree, left_out)
        book = _Book(os.fspath(root), frames, tree.findings, left_out)
        chooser = Chooser(frames, order.wanted, order.strangers, order.scale, order.seed)
        choice = chooser.choose(frames.complete)
        while book.read(spread, choice.split, progress):  # some were refused: choose others
            choice = chooser.choose(frames.complete & ~book.refused)
    return Selection(
        order, found, frames, choice, book.figures, book.drug, list(book.drugs), book.labels_read,
        tree.findings, left_out,
    )  # fmt: skip


class _Book:
    """What has been read of the labels so far."""

    def __init__(
        self, root: str, frames: Candidates, findings: Findings, left_out: Findings
    ) -> None:
        self._root = root
        self._frames = frames
        self._findings = findings
        self._left_out = left_out
        self.figures = np.full((len(frames.pill_frame), 6), UNREAD, dtype=np.int32)
        self.drug = np.full(len(frames.pill_frame), UNREAD)
        self.drugs: dict[Drug, int] = {}
        self.refused = np.zeros(len(frames.stems), dtype=bool)
        self.labels_read = 0
        self._read = np.zeros(len(frames.stems), dtype=bool)

    def read(self, spread: Spread, split: Ints, progress: Progress) -> bool:
        """Read the labels of chosen frames not read yet; whether any frame was refused."""
        frames = self._frames
        new = (split != NOWHERE) & ~self._read
        pills = np.flatnonzero(new[frames.pill_frame])
        reasons: dict[int, str] = {}
        done = 0
        batches = self._batches(pills)
        for readings in reading.read(self._root, batches, spread, progress):
            figures = np.frombuffer(readings.figures, dtype=np.int32).reshape(-1, FIGURES)
            here = pills[done : done + len(figures)]
            done += len(figures)
            self._note(here, figures, readings.drugs)
            for number, reason, detail, notes in readings.odd:
                self._note_oddities(int(here[number]), reason, detail, notes, reasons)
        assert done == len(pills), (done, len(pills))
        self._read |= new
        self.labels_read += len(pills)
        self._compare_boxes(np.flatnonzero(new & ~frames.single), reasons)
        for frame in sorted(reasons):
            self._left_out.add(reasons[frame], frames.photo_path(frame))
            self.refused[frame] = True
        return bool(reasons)

    def _batches(self, pills: Ints) -> list[Batch]:
        """Runs of pills of one code whose labels lie in one folder."""
        frames = self._frames
        folder, code = frames.pill_folder[pills], frames.pill_code[pills]
        changed = (np.diff(folder) != 0) | (np.diff(code) != 0)
        starts = [0, *(np.flatnonzero(changed) + 1).tolist()] if len(pills) else []
        stems = [frames.stems[frame] for frame in frames.pill_frame[pills].tolist()]
        return [
            Batch(frames.folders[folder[start]].path, frames.codes[code[start]], stems[start:stop])
            for start, stop in zip(starts, [*starts[1:], len(pills)], strict=True)
        ]

    def _note(self, pills: Ints, figures: NDArray[np.int32], drugs: list[Drug]) -> None:
        """Keep boxes, frame sizes and drugs of these pills; of unusable ones UNREAD."""
        numbers = [self.drugs.setdefault(drug, len(self.drugs)) for drug in drugs]
        self.figures[pills] = figures[:, :-1]
        self.drug[pills] = np.array([*numbers, UNREAD])[figures[:, -1]]

    def _note_oddities(
        self,
        pill: int,
        reason: str,
        detail: str,
        notes: list[tuple[str, str]],
        reasons: dict[int, str],
    ) -> None:
        if reason:
            reasons.setdefault(int(self._frames.pill_frame[pill]), reason)
            notes = [*notes, (reason, detail)]
        path = self._frames.label_path(pill)
        for name, said in notes:
            self._findings.add(name, f"{path}: {said}" if said else path)

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
