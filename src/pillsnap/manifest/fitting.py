"""What a photo set suffices for: the values of a scale with which build_manifest passes."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pillsnap.aihub import tree as aihub
from pillsnap.dataset.findings import Findings
from pillsnap.errors import DataError
from pillsnap.formats import fingerprint, listing, photo_set
from pillsnap.manifest import advice, candidates, own_photos
from pillsnap.manifest.build import Labels, Progress
from pillsnap.manifest.candidates import Candidates
from pillsnap.manifest.choice import TRAIN, UNUSED, VAL, Choice, Chooser
from pillsnap.manifest.classes import UnknownPills
from pillsnap.params import Params, ScaleParams


@dataclass(frozen=True)
class Fitting:
    """A scale's values, and the photos of train and val that they choose."""

    wanted: ScaleParams
    boxes: NDArray[np.int32]  # [pills, 6] box x, y, w, h, photo w, h
    train_photos: int
    train_singles: int  # photos of one pill
    codes_left_out: list[str]  # drugs with too few pills
    least: dict[str, int]  # pills of the rarest class in train and in val
    left_out: Findings


def fit(root: Path, params: Params, progress: Progress) -> Fitting:
    """The scale with the largest values that the photos suffice for; DataError if none do."""
    if params.data_format != fingerprint.AIHUB:
        found = photo_set.read(root, params.data_format, listing.walk(root), progress)
        own = own_photos.collect(found.photos)
        wanted = params.at_scale.model_copy(update={"classes": max(2, len(own.candidates.codes))})
        wanted = own_photos.settled(own, wanted, params.seed)
        choice = own_photos.choose(own, wanted, params.seed)
        return _fitting(wanted, own.candidates, choice, own.boxes, found.left_out)
    tree, left_out = aihub.scan(root, progress=progress), Findings()
    frames = candidates.collect(tree, left_out)
    labels = Labels(os.fspath(root), frames, tree.findings, left_out)
    labels.read(map, np.where(frames.complete & frames.train, TRAIN, UNUSED), progress)
    usable = frames.complete & ~labels.invalid
    update = {"classes": max(2, len(frames.codes)), "samples": max(1, len(frames.pill_frame))}
    wanted = params.at_scale.model_copy(update=update)
    chooser = Chooser(frames, wanted, UnknownPills(0, 0), params.scale, params.seed)
    changes = advice.solve(chooser, usable)
    if not changes:
        raise DataError(f"{root}: {advice.TOO_FEW}", "Bring more photos of at least two drugs.")
    choice = chooser.changed(changes).choose(usable)
    wanted = wanted.model_copy(update=changes)
    return _fitting(wanted, frames, choice, labels.boxes, left_out)


def _fitting(
    wanted: ScaleParams,
    frames: Candidates,
    choice: Choice,
    boxes: NDArray[np.int32],
    left_out: Findings,
) -> Fitting:
    split = choice.split
    side = split[frames.pill_frame]
    pills = [
        np.bincount(frames.pill_code[side == one], minlength=len(frames.codes))
        for one in (TRAIN, VAL)
    ]
    names = ("min_train_per_class", "min_val_per_class")
    others = set(range(len(frames.codes))) - set(choice.classes.tolist())
    return Fitting(
        wanted,
        boxes[(side == TRAIN) | (side == VAL)],
        int((split == TRAIN).sum()),
        int((frames.single & (split == TRAIN)).sum()),
        sorted(frames.codes[code] for code in others),
        {name: int(of[choice.classes].min()) for name, of in zip(names, pills, strict=True)},
        left_out,
    )
