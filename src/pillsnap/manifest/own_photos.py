"""Chooses among photos in other forms than AI Hub's: all are used, in the parts that are given."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pillsnap.aihub.labels import DrugFields
from pillsnap.aihub.tree import Folder
from pillsnap.arrays import Ints
from pillsnap.dataset.names import View, code_of
from pillsnap.errors import DataError
from pillsnap.formats.photo_set import BoxedPhoto
from pillsnap.manifest.candidates import COMBINATION, Candidates
from pillsnap.manifest.choice import TEST, TRAIN, VAL, VAL_SHARE_TOLERANCE, Choice
from pillsnap.manifest.shares import hashes
from pillsnap.params import ScaleParams

SIDES = {"train": TRAIN, "val": VAL, "test": TEST}
UNRECORDED = View(*[-1] * 7)  # only AI Hub's file names say how a photo was taken
MEASURED = {  # keys of the scale that the photos determine, and how far a value may be off
    "samples": 0, "classes": 0, "combination_share": VAL_SHARE_TOLERANCE,
    "val_share": VAL_SHARE_TOLERANCE,
}  # fmt: skip
ATTEMPTS = 5  # at a val_share that whole capture groups give
WINDOW = 256  # groups compared at a time


class OwnPhotos(NamedTuple):
    """Photos as candidates, with the content of their labels."""

    candidates: Candidates
    parts: Ints  # [photos] TRAIN | VAL | TEST as given; TRAIN where the set is not divided
    boxes: NDArray[np.int32]  # [pills, 6] box x, y, w, h, photo w, h
    drug: Ints  # [pills] number in drugs
    drugs: list[DrugFields]


def collect(photos: Sequence[BoxedPhoto]) -> OwnPhotos:
    """The photos in the form that build_manifest works on."""
    folders: dict[tuple[str, ...], int] = {}
    files: dict[int, list[tuple[str, int]]] = defaultdict(list)
    numbers: dict[str, dict[str, int]] = {"code": {}, "group": {}}

    def number(kind: str, name: str) -> int:
        return numbers[kind].setdefault(name, len(numbers[kind]))

    rows, pills, boxes, stems = [], [], [], []
    for frame, photo in enumerate(photos):
        path, label = PurePosixPath(photo.image_path), PurePosixPath(photo.label_path)
        part = photo.part or "train"
        same = label.stem == path.stem  # else one file labels many photos
        places = ("images", *_place(path)), ("labels", *_place(label)) if same else (
            "labels", photo.label_path, "",
        )  # fmt: skip
        image_folder, label_folder = (
            folders.setdefault((*place, part), len(folders)) for place in places
        )
        files[image_folder].append((path.name, photo.bytes))
        codes = [number("code", code_of(pill.drug)) for pill in photo.pills]
        code = codes[0] if len(codes) == 1 else COMBINATION
        group = number("group", photo.group)
        rows.append((image_folder, 0, group, code, SIDES[part], photo.bytes))
        stems.append(path.stem)
        pills += [(frame, code, label_folder) for code in codes]
        boxes += [(*pill[1:], *photo.size) for pill in photo.pills]
    listed = [
        Folder(path, part, kind, "single", path, PurePosixPath(path).name, ending,
               *(zip(*files[at], strict=True) if files[at] else ((), ())))  # type: ignore[misc]
        for (kind, path, ending, part), at in folders.items()
    ]  # fmt: skip
    folder, view, group_of, code_of_frame, parts, sizes = _columns(rows, 6)
    candidates = Candidates(
        listed, list(numbers["code"]), list(numbers["group"]), [UNRECORDED], stems, folder, view,
        group_of, code_of_frame, parts == TRAIN, sizes, np.ones(len(stems), dtype=bool),
        *_columns(pills, 3),
    )  # fmt: skip
    names = list(dict.fromkeys(pill.drug for photo in photos for pill in photo.pills))
    drugs = [DrugFields("", name, *[""] * 6) for name in names]
    at = {name: number for number, name in enumerate(names)}
    drug = np.array([at[pill.drug] for photo in photos for pill in photo.pills], dtype=np.int64)
    return OwnPhotos(candidates, parts, np.array(boxes, np.int32).reshape(-1, 6), drug, drugs)


def choose(own: OwnPhotos, wanted: ScaleParams, seed: int) -> Choice:
    """Every photo, and as classes the drugs with enough pills for train and val, at most as many
    as wanted. Where no photo is given for val, whole capture groups of train are held out."""
    frames, split = own.candidates, own.parts.copy()
    if not (split == VAL).any():
        split[np.isin(frames.group, _held_out(own, wanted, seed)) & (split == TRAIN)] = VAL
    side, count = split[frames.pill_frame], len(frames.codes)
    train, val = (np.bincount(frames.pill_code[side == one], minlength=count) for one in (0, 1))
    enough = (train >= wanted.min_train_per_class) & (val >= wanted.min_val_per_class)
    best = sorted(
        np.flatnonzero(enough).tolist(), key=lambda code: (-train[code], frames.codes[code])
    )
    classes = sorted(best[: wanted.classes], key=frames.codes.__getitem__)
    return Choice(np.array(classes, dtype=np.int64), np.zeros(0, np.int64), split)


def measured(own: OwnPhotos, choice: Choice) -> dict[str, float]:
    """The values of the scale's keys that a choice gives."""
    frames = own.candidates
    side = choice.split[frames.pill_frame]
    drawn = (side == TRAIN) | (side == VAL)
    samples = max(int(drawn.sum()), 1)
    combined = int((~frames.single[frames.pill_frame] & drawn).sum())
    return {
        "samples": samples,
        "classes": len(choice.classes),
        "combination_share": round(combined / samples, 4),
        "val_share": round(int((side == VAL).sum()) / samples, 4),
    }


def settled(own: OwnPhotos, wanted: ScaleParams, seed: int) -> ScaleParams:
    """`wanted` with values that `choose` gives; DataError where there are not two classes."""
    for _ in range(ATTEMPTS):
        choice = choose(own, wanted, seed)
        if len(choice.classes) < 2:
            codes = sorted(own.candidates.codes)
            raise DataError(
                f"{len(choice.classes)} of {len(codes)} drugs ({', '.join(codes[:5])} ...) have "
                f"{wanted.min_train_per_class} pills for train and {wanted.min_val_per_class} for "
                "val in whole capture groups; the classifier needs two.",
                "Bring more photos, name the drugs in the labels, or lower min_train_per_class and "
                "min_val_per_class.",
            )
        found = measured(own, choice)
        if all(abs(getattr(wanted, key) - value) <= MEASURED[key] for key, value in found.items()):
            return wanted
        wanted = wanted.model_copy(update=found)
    return wanted


def other_numbers(own: OwnPhotos, wanted: ScaleParams, seed: int, scale: str) -> DataError:
    """The error of a scale whose values are not those of the photos, with the command that sets
    them."""
    fitting = settled(own, wanted, seed)
    changed = {key: getattr(fitting, key) for key in MEASURED}
    changed = {key: value for key, value in changed.items() if value != getattr(wanted, key)}
    facts = (f"{key} is {getattr(wanted, key)}, not {value}" for key, value in changed.items())
    options = "".join(f" -S scales.{scale}.{key}={value}" for key, value in changed.items())
    return DataError(
        f"All photos of this set are used, and scales.{scale} is not theirs: {', '.join(facts)}.",
        f"Set these values in params.yaml, or for one run: dvc exp run -S scale={scale}{options}",
    )


def _held_out(own: OwnPhotos, wanted: ScaleParams, seed: int) -> Ints:
    """Numbers of the groups for val: the beginning of an order in which every drug has the same
    share of its pills, as far as whole groups allow; about val_share of all pills, and some of
    each drug that has enough. The val_share that results gives the same groups again."""
    frames = own.candidates
    of_train = own.parts[frames.pill_frame] == TRAIN
    groups, row = np.unique(frames.group[frames.pill_frame[of_train]], return_inverse=True)
    pills = np.zeros((len(groups), len(frames.codes)), dtype=np.int64)
    np.add.at(pills, (row, frames.pill_code[of_train]), 1)
    total, held = pills.sum(axis=0), np.zeros(len(frames.codes), dtype=np.int64)
    least = wanted.min_train_per_class + wanted.min_val_per_class
    learnable = ((pills > 0).sum(axis=0) > 1) & (total >= least)
    waiting = np.argsort(hashes([frames.groups[group] for group in groups], seed))
    target, chosen = wanted.val_share * float(total.sum()), list[int]()
    while len(waiting) and (held.sum() < target or (learnable & (held == 0)).any()):
        some = waiting[:WINDOW]
        after = held + pills[some]
        of_all = after.sum(axis=1, keepdims=True) / total.sum()
        score = ((after / np.maximum(total, 1) - of_all)[:, learnable] ** 2).sum(axis=1)
        score[((after == total) & learnable).any(axis=1)] = np.inf  # train needs some
        best = int(np.argmin(score))
        if np.isinf(score[best]):
            waiting = waiting[WINDOW:]
            continue
        chosen.append(int(some[best]))
        held = after[best]
        waiting = np.delete(waiting, best)
    if chosen:
        before = held - pills[chosen[-1]]
        nearer = abs(before.sum() - target) < abs(held.sum() - target)
        if nearer and not (learnable & (before == 0)).any():
            chosen.pop()
    return groups[chosen]


def _place(path: PurePosixPath) -> tuple[str, str]:
    folder = path.parent.as_posix()
    return ("" if folder == "." else folder), path.suffix


def _columns(rows: Sequence[tuple[int, ...]], count: int) -> NDArray[np.int64]:
    return np.array(rows, dtype=np.int64).reshape(-1, count).T.copy()
