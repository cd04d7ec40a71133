"""Chooses photos and reads their labels; AI Hub's that are invalid are replaced by others."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pillsnap.aihub import reading
from pillsnap.aihub import tree as aihub
from pillsnap.aihub.labels import DrugFields
from pillsnap.aihub.reading import COLUMNS, UNREAD, LabelBatch
from pillsnap.arrays import Ints
from pillsnap.dataset.findings import Findings
from pillsnap.errors import DataError, ParameterError
from pillsnap.formats import fingerprint, listing, photo_set
from pillsnap.formats.fingerprint import Fingerprint
from pillsnap.manifest import advice, candidates, own_photos
from pillsnap.manifest.candidates import Candidates
from pillsnap.manifest.choice import TRAIN, UNUSED, Choice, Chooser
from pillsnap.manifest.classes import ShortageError, UnknownPills
from pillsnap.params import Params
from pillsnap.stage.engines import Engine
from pillsnap.stage.pool import Spread

Progress = Callable[[int, int], None]
FEW = 5000  # labels that one process reads before others would have started
KILLED = "Set build_manifest.num_workers to 1, or free memory, then run dvc repro."


@dataclass(frozen=True)
class Selection:
    """The chosen photos with their labels, and how they were chosen."""

    params: Params
    fingerprint: Fingerprint
    candidates: Candidates
    choice: Choice
    boxes: NDArray[np.int32]  # [pills, 6] box x, y, w, h, photo w, h; or UNREAD
    drug: Ints  # [pills] number in drugs; UNREAD
    drugs: list[DrugFields]
    labels_read: int
    findings: Findings
    left_out: Findings
    corrections: dict[str, Any] = field(default_factory=dict)  # their counts, for sampling.json


def build(
    root: Path, params: Params, recorded: Fingerprint | None, progress: Progress
) -> Selection:
    """Scan, check the fingerprint, choose, read; DataError where the set has too few photos."""
    if params.data_format != fingerprint.AIHUB:
        return _of_own_photos(root, params, recorded, progress)
    wanted, options = params.at_scale, params.build_manifest
    unknown = UnknownPills(options.left_out_classes, options.val_unknown_pills)
    root = root.absolute()  # another host may read it
    few = wanted.samples + wanted.test_unknown_pills <= FEW
    engine = Engine("local", 1) if few else Engine(params.validate_.engine, options.num_workers)
    with engine.workers(root, reading.__name__, KILLED) as spread:
        tree = aihub.scan(root, spread, progress)
        found = fingerprint.of(tree)
        fingerprint.check(found, recorded, fingerprint.path_of(params.scale), root)
        left_out = Findings()
        frames = candidates.collect(tree, left_out)
        labels = Labels(os.fspath(root), frames, tree.findings, left_out)
        chooser = Chooser(frames, wanted, unknown, params.scale, params.seed)
        try:
            choice = chooser.choose(frames.complete)
            while labels.read(spread, choice.split, progress):  # some are invalid: choose others
                choice = chooser.choose(frames.complete & ~labels.invalid)
        except ShortageError as shortage:  # advice on what is usable needs every label
            labels.read(spread, np.where(frames.complete & frames.train, TRAIN, UNUSED), progress)
            for name in left_out.counts.keys() - tree.findings.counts.keys():  # not of a label
                tree.findings.counts[name] = left_out.counts[name]
                tree.findings.examples[name] = left_out.examples[name]
            cure = advice.cure(chooser, frames.complete & ~labels.invalid, params.scale)
            raise DataError(shortage.fact + tree.findings.largest(), cure) from None
    known_in_val = np.isin(frames.code, choice.classes) & ~frames.train & (choice.split == UNUSED)
    for frame in np.flatnonzero(known_in_val):
        left_out.add("known_single_in_val", frames.photo_path(int(frame)))
    return Selection(
        params, found, frames, choice, labels.boxes, labels.drug, list(labels.drugs),
        labels.labels_read, tree.findings, left_out,
    )  # fmt: skip


def _of_own_photos(
    root: Path, params: Params, recorded: Fingerprint | None, progress: Progress
) -> Selection:
    """All photos of a set in another form; DataError where the scale's numbers are not theirs."""
    if params.build_manifest.left_out_classes or params.build_manifest.val_unknown_pills:
        raise ParameterError(
            f"build_manifest.left_out_classes and val_unknown_pills are for AI Hub's form only; "
            f"data.format is {params.data_format}.",
            "Set both to 0 in params.yaml, or for one run: dvc exp run "
            "-S build_manifest.left_out_classes=0 -S build_manifest.val_unknown_pills=0",
        )
    found_files = listing.walk(root)
    found = fingerprint.of_files(root, found_files)
    fingerprint.check(found, recorded, fingerprint.path_of(params.scale), root)
    photos = photo_set.read(root, params.data_format, found_files, progress)
    own = own_photos.collect(photos.photos)
    wanted, seed = params.at_scale, params.seed
    if own_photos.settled(own, wanted, seed) != wanted:
        raise own_photos.other_numbers(own, wanted, seed, params.scale)
    choice = own_photos.choose(own, wanted, seed)
    return Selection(
        params, found, own.candidates, choice, own.boxes, own.drug, own.drugs, len(own.drug),
        photos.findings, photos.left_out,
    )  # fmt: skip


class Labels:
    """The content of the labels read so far."""

    def __init__(
        self, root: str, frames: Candidates, findings: Findings, left_out: Findings
    ) -> None:
        self._root = root
        self._frames = frames
        self._findings = findings
        self._left_out = left_out
        self.boxes = np.full((len(frames.pill_frame), 6), UNREAD, dtype=np.int32)
        self.drug = np.full(len(frames.pill_frame), UNREAD)
        self.drugs: dict[DrugFields, int] = {}
        self.invalid = np.zeros(len(frames.stems), dtype=bool)
        self.labels_read = 0
        self._read = np.zeros(len(frames.stems), dtype=bool)

    def read(self, spread: Spread, split: Ints, progress: Progress) -> bool:
        """Read the labels of chosen photos not read yet; whether any photo turned out invalid."""
        frames = self._frames
        new = (split != UNUSED) & ~self._read
        pills = np.flatnonzero(new[frames.pill_frame])
        reasons: dict[int, str] = {}
        done = 0
        batches = self._batches(pills)
        for readings in reading.read(self._root, batches, spread, progress):
            values = np.frombuffer(readings.values, dtype=np.int32).reshape(-1, COLUMNS)
            here = pills[done : done + len(values)]
            done += len(values)
            drugs = [self.drugs.setdefault(drug, len(self.drugs)) for drug in readings.drugs]
            self.boxes[here] = values[:, :-1]
            self.drug[here] = np.array([*drugs, UNREAD])[values[:, -1]]
            for number, reason, detail, notes in readings.remarks:
                pill = int(here[number])
                path = frames.label_path(pill)
                if reason:
                    reasons.setdefault(int(frames.pill_frame[pill]), reason)
                for name, text in [*notes, (reason, detail)] if reason else notes:
                    self._findings.add(name, f"{path}: {text}" if text else path)
        assert done == len(pills), (done, len(pills))
        self._read |= new
        self.labels_read += len(pills)
        self._compare_boxes(np.flatnonzero(new & ~frames.single), reasons)
        for frame in sorted(reasons):
            self._left_out.add(reasons[frame], frames.photo_path(frame))
            self.invalid[frame] = True
        return bool(reasons)

    def _batches(self, pills: Ints) -> list[LabelBatch]:
        """Runs of pills of one code whose labels are in one folder."""
        frames = self._frames
        folder, code = frames.pill_folder[pills], frames.pill_code[pills]
        changed = (np.diff(folder) != 0) | (np.diff(code) != 0)
        starts = [0, *(np.flatnonzero(changed) + 1).tolist()] if len(pills) else []
        stems = [frames.stems[frame] for frame in frames.pill_frame[pills].tolist()]
        batches = []
        for start, stop in zip(starts, [*starts, len(pills)][1:], strict=True):
            of = frames.folders[folder[start]]
            batches.append(
                LabelBatch(of.path, of.ending, frames.codes[code[start]], stems[start:stop])
            )
        return batches

    def _compare_boxes(self, combinations: Ints, reasons: dict[int, str]) -> None:
        """A photo is invalid if two codes share a box, or its labels disagree on its size."""
        frames = self._frames
        first = np.searchsorted(frames.pill_frame, combinations)
        last = np.searchsorted(frames.pill_frame, combinations, side="right")
        for frame, start, stop in zip(combinations, first, last, strict=True):
            if int(frame) in reasons:
                continue
            boxes = self.boxes[start:stop]
            if len(np.unique(boxes[:, :4], axis=0)) < len(boxes):
                reasons[int(frame)] = "codes_share_a_box"
            elif len(np.unique(boxes[:, 4:], axis=0)) > 1:
                reasons[int(frame)] = "frame_sizes_differ"
            else:
                continue
            self._findings.add(reasons[int(frame)], frames.photo_path(frame))
