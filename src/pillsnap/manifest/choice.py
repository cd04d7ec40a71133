"""Chooses classes and photos, given file names and counts: exact totals, whole groups."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pillsnap.arrays import Bools, Ints
from pillsnap.errors import DataError
from pillsnap.manifest.candidates import COMBINATION, Candidates
from pillsnap.manifest.shares import fill_up, hashes, held_out, level_fill, round_robin
from pillsnap.params import ScaleParams

UNUSED, TRAIN, VAL, TEST = -1, 0, 1, 2
VAL_SHARE_TOLERANCE = 0.005  # of the samples


@dataclass(frozen=True)
class UnknownPills:
    """How many pills to hold out of training, to measure whether they are refused."""

    left_out_classes: int  # eligible codes; their single photos go to test
    val_unknown_pills: int  # of val's samples: single photos of codes that are no class


@dataclass(frozen=True)
class Choice:
    """The classes in the order of their K-codes, and the split of each photo."""

    classes: Ints  # [classes] numbers in Candidates.codes
    left_out: Ints  # [left_out_classes] likewise
    split: Ints  # [frames] UNUSED | TRAIN | VAL | TEST


class Chooser:
    """Chooses at one scale with one seed; called again when photos turn out invalid."""

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
        self._frame_order = hashes(candidates.stems, seed)
        self._group_order = hashes(candidates.groups, seed)
        self._code_order = hashes(candidates.codes, seed)
        group_code = np.full(len(candidates.groups), COMBINATION)
        group_code[candidates.group] = candidates.code
        by_code = np.lexsort((self._group_order, group_code))
        starts = np.searchsorted(group_code[by_code], np.arange(len(candidates.codes)))
        self._groups_of = np.split(by_code, starts)[1:]

    def choose(self, usable: Bools) -> Choice:
        """Choose among the usable photos; DataError says what there is too little of."""
        in_train = usable & self._all.train
        eligible = self._eligible(in_train)
        left_out = self._left_out(in_train, eligible)
        out = self._flags(left_out)
        with_left_out = np.bincount(self._all.pill_frame, out[self._all.pill_code], len(usable)) > 0
        trainable = in_train & ~with_left_out  # kept from the detector as well
        classes = self._classes(trainable, eligible[~out[eligible]])
        is_class = self._flags(classes)
        split = np.full(len(self._all.stems), UNUSED)
        self._combinations(split, trainable & ~self._all.single, is_class)
        self._val_unknown(split, trainable & self._all.single, is_class)
        self._singles(split, trainable & self._all.single, classes)
        self._test(split, usable & ~self._all.train, is_class)
        out_of_train = np.flatnonzero(in_train & self._all.single & with_left_out)
        split[self._evenly(out_of_train, self._wanted.test_unknown_pills)] = TEST
        return Choice(classes, left_out, split)

    def _flags(self, codes: Ints) -> Bools:
        flags = np.zeros(len(self._all.codes), dtype=bool)
        flags[codes] = True
        return flags

    def _eligible(self, in_train: Bools) -> Ints:
        """Codes that can be classes; DataError where there are too few."""
        wanted, out = self._wanted, self._unknown.left_out_classes
        singles, _ = self._photos_of_codes(in_train)
        eligible = np.array(sorted(self._held(in_train, np.flatnonzero(singles))), dtype=np.int64)
        if len(eligible) < wanted.classes + out:
            more = f" and build_manifest.left_out_classes for {out:,} more" if out else ""
            raise DataError(
                f"{self._key}.classes asks for {wanted.classes:,} classes{more}; {len(eligible):,} "
                f"of the {np.count_nonzero(singles):,} codes with single photos in train/ have "
                f"{wanted.min_train_per_class} for train and {wanted.min_val_per_class} for val "
                "in whole capture groups.",
                f"Lower {self._key}.classes to at most {max(len(eligible) - out, 0)}, or "
                f"{self._key}.min_train_per_class, {self._key}.min_val_per_class, or bring more "
                "data.",
            )
        return eligible

    def _left_out(self, in_train: Bools, eligible: Ints) -> Ints:
        """Codes without combinations first: combinations that show a left-out code are not used."""
        _, in_combinations = self._photos_of_codes(in_train)
        order = np.lexsort((self._code_order[eligible], in_combinations[eligible] > 0))
        return np.sort(eligible[order[: self._unknown.left_out_classes]])

    def _classes(self, in_train: Bools, eligible: Ints) -> Ints:
        """Codes that occur in combinations first, then those with most photos."""
        wanted, codes = self._wanted, self._all.codes
        singles, in_combinations = self._photos_of_codes(in_train)
        order = np.lexsort(
            (
                self._code_order[eligible],
                -in_combinations[eligible],
                -singles[eligible],
                in_combinations[eligible] == 0,
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

    def _combinations(self, split: Ints, usable: Bools, is_class: Bools) -> None:
        """Photos with few unknown pills first; combinations take turns."""
        total = round(self._wanted.samples * self._wanted.combination_share)
        frames = np.flatnonzero(usable)
        pills, group = self._pills[frames], self._all.group[frames]
        if pills.sum() < total:
            out = self._unknown.left_out_classes
            without = f" without the {out:,} left-out codes" if out else ""
            raise DataError(
                f"{self._key}.combination_share asks for {total:,} pills of combination photos; "
                f"train/ holds {pills.sum():,} in complete, readable ones{without}.",
                f"Lower {self._key}.combination_share to at most "
                f"{np.floor(pills.sum() / self._wanted.samples * 1e4) / 1e4:g}, or "
                f"{self._key}.samples, or bring more data.",
            )
        in_val = np.isin(group, self._held_combinations(group, pills))
        known = np.bincount(self._all.pill_frame, is_class[self._all.pill_code], len(split))
        position = round_robin(
            np.zeros_like(group),
            group,
            self._group_order[group],
            self._frame_order[frames],
        )
        order = np.lexsort((position, pills - known[frames]))
        left = total
        for side, flag in ((VAL, True), (TRAIN, False)):
            here = order[in_val[order] == flag]
            capacity = int(pills[here].sum())
            share = round(total * self._wanted.val_share) if flag else left
            fewest = total - int(pills.sum()) + capacity  # more than the other side has
            taken = fill_up(pills, here, min(capacity, max(share, fewest)))
            split[frames[taken]] = side
            left -= int(pills[taken].sum())

    def _held_combinations(self, group: Ints, pills: Ints) -> Ints:
        groups = np.unique(group)
        groups = groups[np.argsort(self._group_order[groups])]
        sizes = np.bincount(group, pills, len(self._all.groups)).astype(np.int64)[groups]
        chosen = held_out(sizes, self._wanted.val_share * float(sizes.sum()), 0, 0)
        return groups[:0] if chosen is None else groups[chosen]

    def _val_unknown(self, split: Ints, usable: Bools, is_class: Bools) -> None:
        """Unknown pills count as samples of val; photos of the classes fill up the rest."""
        wanted = self._unknown.val_unknown_pills
        frames = np.flatnonzero(usable)
        frames = frames[~is_class[self._all.code[frames]]]
        if len(frames) < wanted:
            raise DataError(
                f"build_manifest.val_unknown_pills asks for {wanted:,} single photos of codes "
                f"that are no class; train/ holds {len(frames):,}.",
                f"Lower build_manifest.val_unknown_pills to at most {len(frames)}, or "
                f"{self._key}.classes.",
            )
        split[self._evenly(frames, wanted)] = VAL

    def _evenly(self, frames: Ints, count: int) -> Ints:
        """At most `count` of these single photos; codes take turns, and so do their groups."""
        code, group = self._all.code[frames], self._all.group[frames]
        position = round_robin(code, group, self._group_order[group], self._frame_order[frames])
        return frames[np.lexsort((self._code_order[code], position))[:count]]

    def _singles(self, split: Ints, usable: Bools, classes: Ints) -> None:
        """Fill up to the exact total: classes even, val's share exact, groups in turns."""
        class_of = np.full(len(self._all.codes), -1)
        class_of[classes] = np.arange(len(classes))
        frames = np.flatnonzero(usable)
        frames = frames[class_of[self._all.code[frames]] >= 0]
        held = self._held(usable, classes)
        is_held = np.zeros(len(self._all.groups), dtype=bool)
        is_held[np.concatenate([*held.values()])] = True
        side = np.where(is_held[self._all.group[frames]], VAL, TRAIN)
        index, group = class_of[self._all.code[frames]], self._all.group[frames]
        capacity = np.bincount(index * 2 + side, minlength=2 * len(classes)).reshape(-1, 2)
        quota = self._quotas(split, classes, capacity)
        bins, orders = index * 2 + side, (self._group_order[group], self._frame_order[frames])
        taken = round_robin(bins, group, *orders) < quota[index, side]
        split[frames[taken]] = side[taken]

    def _quotas(self, split: Ints, classes: Ints, capacity: Ints) -> Ints:
        """[classes, 2] single photos for TRAIN and VAL."""
        wanted, order = self._wanted, self._code_order[classes]
        pill_split = split[self._all.pill_frame]
        combined = np.bincount(pill_split[pill_split >= 0], minlength=2)
        known = [
            np.bincount(self._all.pill_code[pill_split == side], minlength=len(self._all.codes))
            for side in (TRAIN, VAL)
        ]
        least = np.array([wanted.min_train_per_class, wanted.min_val_per_class])
        needed = np.maximum(least - np.stack(known, axis=1)[classes], 0)
        total = wanted.samples - int(combined.sum())
        self._refuse_shortage(total, needed, capacity)
        quota = level_fill(total, needed.sum(axis=1), capacity.sum(axis=1), order)
        low = np.maximum(needed[:, VAL], quota - capacity[:, TRAIN])
        high = np.minimum(capacity[:, VAL], quota - needed[:, TRAIN])
        target = round(wanted.samples * wanted.val_share) - int(combined[VAL])
        in_val = int(np.clip(target, low.sum(), high.sum()))
        if abs(in_val - target) > VAL_SHARE_TOLERANCE * wanted.samples:
            share = (in_val + int(combined[VAL])) / wanted.samples
            raise DataError(
                f"{self._key}.val_share is {wanted.val_share:g}; with whole capture groups and "
                f"{wanted.samples:,} samples the nearest possible is {share:.4f}.",
                f"Set {self._key}.val_share to {share:.4f}, or lower {self._key}.samples or "
                f"{self._key}.min_val_per_class.",
            )
        val = level_fill(in_val, low, high, order)
        return np.stack([quota - val, val], axis=1)

    def _refuse_shortage(self, total: int, needed: Ints, capacity: Ints) -> None:
        combined = self._wanted.samples - total
        if capacity.sum() < total:
            raise DataError(
                f"{self._key}.samples asks for {self._wanted.samples:,} pills; the chosen "
                f"{len(capacity):,} classes have {capacity.sum():,} usable single photos, and "
                f"{combined:,} pills are of combinations or unknown.",
                f"Lower {self._key}.samples to at most {capacity.sum() + combined}, or bring "
                "more data.",
            )
        if needed.sum() > total:
            raise DataError(
                f"{self._key}.samples leaves {total:,} single photos, the minimum counts of "
                f"{len(capacity):,} classes need {needed.sum():,}.",
                f"Raise {self._key}.samples, or lower {self._key}.classes, "
                f"{self._key}.min_train_per_class, {self._key}.min_val_per_class or "
                f"{self._key}.combination_share.",
            )

    def _test(self, split: Ints, usable: Bools, is_class: Bools) -> None:
        """From AI Hub's val part: combinations of known codes, singles of codes not in train."""
        unknown_pills = np.bincount(
            self._all.pill_frame, ~is_class[self._all.pill_code], len(split)
        )
        trained = np.zeros(len(self._all.groups), dtype=bool)
        trained[self._all.group[split != UNUSED]] = True
        not_trained = ~trained[self._all.group]
        split[usable & ~self._all.single & (unknown_pills == 0) & not_trained] = TEST
        trained_codes = is_class.copy()
        trained_codes[self._all.pill_code[split[self._all.pill_frame] != UNUSED]] = True
        frames = np.flatnonzero(usable & self._all.single)
        frames = frames[~trained_codes[self._all.code[frames]]]
        split[self._evenly(frames, self._wanted.test_unknown_pills)] = TEST
