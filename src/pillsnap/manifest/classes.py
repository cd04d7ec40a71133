"""Chooses the classes: codes with enough photos for train and val, in whole capture groups."""

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np

from pillsnap.arrays import Bools, Ints
from pillsnap.errors import DataError
from pillsnap.manifest.candidates import COMBINATION, Candidates
from pillsnap.manifest.shares import hashes, held_out
from pillsnap.params import ScaleParams

FEWEST_CLASSES = 2


class ShortageError(DataError):
    """What the photos do not suffice for; `change`: new values of some settings, {} for none."""

    def __init__(self, fact: str, change: Mapping[str, float]) -> None:
        super().__init__(fact, "Bring more data.")
        self.change = dict(change)


@dataclass(frozen=True)
class UnknownPills:
    """How many pills to hold out of training, to measure whether they are refused."""

    left_out_classes: int  # eligible codes; their single photos go to test
    val_unknown_pills: int  # of val's samples: single photos of codes that are no class


class ClassChooser:
    """Chooses classes at one scale with one seed."""

    def __init__(
        self,
        candidates: Candidates,
        wanted: ScaleParams,
        unknown_pills: UnknownPills,
        scale: str,
        seed: int,
    ) -> None:
        self._all = candidates
        self._wanted = wanted
        self._unknown = unknown_pills
        self._key = f"scales.{scale}"
        self._pills = candidates.pills
        self._has_singles = bool((candidates.single & candidates.train).any())
        self._frame_order = hashes(candidates.stems, seed)
        self._group_order = hashes(candidates.groups, seed)
        self._code_order = hashes(candidates.codes, seed)
        group_code = np.full(len(candidates.groups), COMBINATION)
        group_code[candidates.group] = candidates.code
        by_code = np.lexsort((self._group_order, group_code))
        starts = np.searchsorted(group_code[by_code], np.arange(len(candidates.codes)))
        self._groups_of = np.split(by_code, starts)[1:]

    def changed(self, changes: Mapping[str, float]) -> Self:
        """The same with other values of some settings."""
        other = copy(self)
        own = {field.name for field in fields(UnknownPills)}
        unknown = {name: int(value) for name, value in changes.items() if name in own}
        other._unknown = replace(self._unknown, **unknown)
        wanted = {name: value for name, value in changes.items() if name not in own}
        other._wanted = self._wanted.model_copy(update=wanted)
        return other

    def combinations_alone(self, usable: Bools) -> dict[str, float]:
        """Settings that take all combinations and no other photo."""
        pills = int(self._pills[usable & self._all.train & ~self._all.single].sum())
        return {"combination_share": 1.0, "samples": min(pills, self._wanted.samples)}

    def _flags(self, codes: Ints) -> Bools:
        flags = np.zeros(len(self._all.codes), dtype=bool)
        flags[codes] = True
        return flags

    def _eligible(self, in_train: Bools) -> Ints:
        """Codes that can be classes; ShortageError where there are too few."""
        wanted, out = self._wanted, self._unknown.left_out_classes
        singles, _ = self._photos_of_codes(in_train)
        eligible = np.array(sorted(self._held(in_train, np.flatnonzero(singles))), dtype=np.int64)
        if len(eligible) < wanted.classes + out:
            others = np.setdiff1d(self._enough_combined(in_train), eligible)
            eligible = np.concatenate([eligible, others])
        if len(eligible) < wanted.classes + out:
            more = f" and build_manifest.left_out_classes for {out:,} more" if out else ""
            codes = len(np.unique(self._codes_in(in_train)))
            have = (
                f"{len(eligible):,} of the {codes:,} codes with labelled photos in train have "
                f"{wanted.min_train_per_class} for train and {wanted.min_val_per_class} for val "
                "in whole capture groups."
            )
            raise ShortageError(
                f"{self._key}.classes asks for {wanted.classes:,} classes{more}; "
                f"{have if codes else 'train has no photo with a label.'}",
                self._fewer_classes(len(eligible)),
            )
        return eligible

    def _fewer_classes(self, most: int) -> dict[str, float]:
        """At most so many classes; where that is no classifier, lower minimums."""
        wanted, out = self._wanted, self._unknown.left_out_classes
        if most - out >= FEWEST_CLASSES:
            return {"classes": most - out}
        if out and most >= FEWEST_CLASSES:
            return {"classes": FEWEST_CLASSES, "left_out_classes": most - FEWEST_CLASSES}
        least = wanted.min_train_per_class, wanted.min_val_per_class
        if max(least) == 1:
            return {}
        halves = [max(1, count // 2) for count in least]
        return dict(zip(("min_train_per_class", "min_val_per_class"), halves, strict=True))

    def _codes_in(self, frames: Bools) -> Ints:
        return self._all.pill_code[frames[self._all.pill_frame]]

    def _enough_combined(self, in_train: Bools) -> Ints:
        """Codes that have the minimum counts in combinations alone."""
        combined = in_train & ~self._all.single
        frames = np.flatnonzero(combined)
        held = self._held_combinations(self._all.group[frames], self._pills[frames])
        to_val = combined & np.isin(self._all.group, held)
        count = len(self._all.codes)
        train = np.bincount(self._codes_in(combined & ~to_val), minlength=count)
        val = np.bincount(self._codes_in(to_val), minlength=count)
        wanted = self._wanted
        enough = (train >= wanted.min_train_per_class) & (val >= wanted.min_val_per_class)
        return np.flatnonzero(enough)

    def _left_out(self, in_train: Bools, eligible: Ints) -> Ints:
        """Codes without combinations first: combinations that show a left-out code are not used."""
        _, in_combinations = self._photos_of_codes(in_train)
        order = np.lexsort((self._code_order[eligible], in_combinations[eligible] > 0))
        return np.sort(eligible[order[: self._unknown.left_out_classes]])

    def _classes(self, in_train: Bools, eligible: Ints) -> Ints:
        """Codes that occur in combinations first, then those with most photos.

        Those without enough single photos, which are eligible where there are few, come last.
        """
        wanted, codes = self._wanted, self._all.codes
        singles, in_combinations = self._photos_of_codes(in_train)
        combined_only = ~self._flags(np.array([*self._held(in_train, eligible)], dtype=np.int64))
        order = np.lexsort(
            (
                self._code_order[eligible],
                -in_combinations[eligible],
                -singles[eligible],
                in_combinations[eligible] == 0,
                combined_only[eligible],
            )
        )
        chosen = eligible[order[: wanted.classes]]
        return np.array(sorted(chosen, key=lambda code: codes[code]), dtype=np.int64)

    def _photos_of_codes(self, in_train: Bools) -> tuple[Ints, Ints]:
        """[codes] single photos and [codes] pills in combinations."""
        count = len(self._all.codes)
        singles = np.bincount(self._all.code[in_train & self._all.single], minlength=count)
        combined = (in_train & ~self._all.single)[self._all.pill_frame]
        return singles, np.bincount(self._all.pill_code[combined], minlength=count)

    def _held(self, in_train: Bools, codes: Iterable[int]) -> dict[int, Ints]:
        """The groups of each code that go to val; codes too small for both splits are left out.

        Groups are whole, so a code gives a few photos too many or too few: the next compensates.
        """
        wanted = self._wanted
        group = self._all.group[in_train & self._all.single]
        sizes = np.bincount(group, minlength=len(self._all.groups))
        held: dict[int, Ints] = {}
        carry = 0.0
        for code in sorted(codes, key=lambda code: self._all.codes[code]):
            groups = self._groups_of[code]
            groups = groups[sizes[groups] > 0]
            target = carry + wanted.val_share * float(sizes[groups].sum())
            chosen = held_out(
                sizes[groups],
                target,
                wanted.min_val_per_class,
                wanted.min_train_per_class,
            )
            if chosen is not None:
                held[code] = groups[chosen]
                carry = target - float(sizes[held[code]].sum())
        return held

    def _share_of(self, pills: int) -> float:
        """So many of the samples, rounded down."""
        return max(0, int(pills / self._wanted.samples * 1e4)) / 1e4

    def _held_combinations(self, group: Ints, pills: Ints) -> Ints:
        groups = np.unique(group)
        groups = groups[np.argsort(self._group_order[groups])]
        sizes = np.bincount(group, pills, len(self._all.groups)).astype(np.int64)[groups]
        chosen = held_out(sizes, self._wanted.val_share * float(sizes.sum()), 0, 0)
        return groups[:0] if chosen is None else groups[chosen]
