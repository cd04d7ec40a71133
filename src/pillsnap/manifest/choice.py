"""Chooses classes and frames by names and counts alone: exact totals, whole groups."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pillsnap.arrays import Bools, Ints
from pillsnap.errors import DataError
from pillsnap.manifest.candidates import COMBINATION, Candidates
from pillsnap.manifest.shares import fill_up, hashes, held_out, level_fill, turns
from pillsnap.params import ScaleParams

NOWHERE, TRAIN, VAL, TEST = -1, 0, 1, 2
VAL_SHARE_TOLERANCE = 0.005  # of the samples


@dataclass(frozen=True)
class Strangers:
    """How many pills are kept from being learnt, to see whether they are refused."""

    left_out_classes: int  # codes that could be classes; their single photos go to test
    val_unknown_pills: int  # of the samples: single photos in val of codes that are no class


@dataclass(frozen=True)
class Choice:
    """The classes in the order of their K-codes, and where each frame goes."""

    classes: Ints  # [classes] numbers in Candidates.codes
    left_out: Ints  # [left_out_classes] likewise
    split: Ints  # [frames] NOWHERE | TRAIN | VAL | TEST


class Chooser:
    """Chooses at one scale with one seed; asked again when frames turn out unusable."""

    def __init__(
        self,
        candidates: Candidates,
        wanted: ScaleParams,
        strangers: Strangers,
        scale: str,
        seed: int,
    ) -> None:
        self._all = candidates
        self._wanted = wanted
        self._strangers = strangers
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
        """Choose among the usable frames; DataError says what there is too little of."""
        in_train = usable & self._all.train
        able = self._able(in_train)
        left_out = self._left_out(in_train, able)
        out = self._flags(left_out)
        shown = np.bincount(self._all.pill_frame, out[self._all.pill_code], len(usable)) > 0
        learnt = in_train & ~shown  # the detector does not meet them in combinations either
        classes = self._classes(learnt, able[~out[able]])
        is_class = self._flags(classes)
        split = np.full(len(self._all.stems), NOWHERE)
        self._combinations(split, learnt & ~self._all.single, is_class)
        self._val_unknown(split, learnt & self._all.single, is_class)
        self._singles(split, learnt & self._all.single, classes)
        self._test(split, usable & ~self._all.train, is_class)
        out_of_train = np.flatnonzero(in_train & self._all.single & shown)
        split[self._spread(out_of_train, self._wanted.test_unknown_pills)] = TEST
        return Choice(classes, left_out, split)

    def _flags(self, codes: Ints) -> Bools:
        flags = np.zeros(len(self._all.codes), dtype=bool)
        flags[codes] = True
        return flags

    def _able(self, in_train: Bools) -> Ints:
        """Codes that could be classes; DataError where there are too few."""
        wanted, out = self._wanted, self._strangers.left_out_classes
        singles, _ = self._photos_of_codes(in_train)
        able = np.array(sorted(self._held(in_train, np.flatnonzero(singles))), dtype=np.int64)
        if len(able) < wanted.classes + out:
            more = f" and build_manifest.left_out_classes for {out:,} more" if out else ""
            raise DataError(
                f"{self._key}.classes asks for {wanted.classes:,} classes{more}; {len(able):,} of "
                f"the {np.count_nonzero(singles):,} codes with single photos in train/ have "
                f"{wanted.min_train_per_class} for train and {wanted.min_val_per_class} for val "
                "in whole capture groups.",
                f"Lower {self._key}.classes to at most {max(len(able) - out, 0)}, or {self._key}."
                f"min_train_per_class, {self._key}.min_val_per_class, or bring more data.",
            )
        return able

    def _left_out(self, in_train: Bools, able: Ints) -> Ints:
        """Codes of no combination first: a combination that shows one of them is lost."""
        _, in_combinations = self._photos_of_codes(in_train)
        order = np.lexsort((self._code_order[able], in_combinations[able] > 0))
        return np.sort(able[order[: self._strangers.left_out_classes]])

    def _classes(self, in_train: Bools, able: Ints) -> Ints:
        """Codes seen in combinations first, then the best filled."""
        wanted, codes = self._wanted, self._all.codes
        singles, in_combinations = self._photos_of_codes(in_train)
        order = np.lexsort(
            (
                self._code_order[able],
                -in_combinations[able],
                -singles[able],
                in_combinations[able] == 0,
            )
        )
        chosen = able[order[: wanted.classes]]
        return np.array(sorted(chosen, key=lambda code: codes[code]), dtype=np.int64)

    def _photos_of_codes(self, in_train: Bools) -> tuple[Ints, Ints]:
        """[codes] single photos and [codes] pills in combinations."""
        count = len(self._all.codes)
        singles = np.bincount(self._all.code[in_train & self._all.single], minlength=count)
        combined = (in_train & ~self._all.single)[self._all.pill_frame]
        return singles, np.bincount(self._all.pill_code[combined], minlength=count)

    def _held(self, in_train: Bools, codes: Iterable[int]) -> dict[int, Ints]:
        """The groups each code gives to val; codes that cannot serve both splits are not in it.

        Groups are whole, so a code gives a little too much or too little: the next makes up for it.
        """
        wanted = self._wanted
        group = self._all.group[in_train & self._all.single]
        sizes = np.bincount(group, minlength=len(self._all.groups))
        held: dict[int, Ints] = {}
        owed = 0.0
        for code in sorted(codes, key=lambda code: self._all.codes[code]):
            groups = self._groups_of[code]
            groups = groups[sizes[groups] > 0]
            target = owed + wanted.val_share * float(sizes[groups].sum())
            places = held_out(
                sizes[groups],
                target,
                wanted.min_val_per_class,
                wanted.min_train_per_class,
            )
            if places is not None:
                held[code] = groups[places]
                owed = target - float(sizes[held[code]].sum())
        return held

    def _combinations(self, split: Ints, usable: Bools, is_class: Bools) -> None:
        """Frames with few unknown pills first, combinations taking turns."""
        total = round(self._wanted.samples * self._wanted.combination_share)
        frames = np.flatnonzero(usable)
        pills, group = self._pills[frames], self._all.group[frames]
        if pills.sum() < total:
            out = self._strangers.left_out_classes
            without = f" without the {out:,} left-out codes" if out else ""
            raise DataError(
                f"{self._key}.combination_share asks for {total:,} pills of combination frames; "
                f"train/ holds {pills.sum():,} in complete, readable ones{without}.",
                f"Lower {self._key}.combination_share to at most "
                f"{np.floor(pills.sum() / self._wanted.samples * 1e4) / 1e4:g}, or "
                f"{self._key}.samples, or bring more data.",
            )
        in_val = np.isin(group, self._held_combinations(group, pills))
        known = np.bincount(self._all.pill_frame, is_class[self._all.pill_code], len(split))
        place = turns(
            np.zeros_like(group),
            group,
            self._group_order[group],
            self._frame_order[frames],
        )
        order = np.lexsort((place, pills - known[frames]))
        left = total
        for side, flag in ((VAL, True), (TRAIN, False)):
            here = order[in_val[order] == flag]
            capacity = int(pills[here].sum())
            share = round(total * self._wanted.val_share) if flag else left
            fewest = total - int(pills.sum()) + capacity  # the other side cannot hold these
            taken = fill_up(pills, here, min(capacity, max(share, fewest)))
            split[frames[taken]] = side
            left -= int(pills[taken].sum())

    def _held_combinations(self, group: Ints, pills: Ints) -> Ints:
        groups = np.unique(group)
        groups = groups[np.argsort(self._group_order[groups])]
        sizes = np.bincount(group, pills, len(self._all.groups)).astype(np.int64)[groups]
        places = held_out(sizes, self._wanted.val_share * float(sizes.sum()), 0, 0)
        return groups[:0] if places is None else groups[places]

    def _val_unknown(self, split: Ints, usable: Bools, is_class: Bools) -> None:
        """They count as samples of val: the classes' photos then fill up what is left."""
        wanted = self._strangers.val_unknown_pills
        frames = np.flatnonzero(usable)
        frames = frames[~is_class[self._all.code[frames]]]
        if len(frames) < wanted:
            raise DataError(
                f"build_manifest.val_unknown_pills asks for {wanted:,} single photos of codes "
                f"that are no class; train/ holds {len(frames):,}.",
                f"Lower build_manifest.val_unknown_pills to at most {len(frames)}, or "
                f"{self._key}.classes.",
            )
        split[self._spread(frames, wanted)] = VAL

    def _spread(self, frames: Ints, count: int) -> Ints:
        """At most `count` of these single frames; codes take turns, and so do their groups."""
        code, group = self._all.code[frames], self._all.group[frames]
        place = turns(code, group, self._group_order[group], self._frame_order[frames])
        return frames[np.lexsort((self._code_order[code], place))[:count]]

    def _singles(self, split: Ints, usable: Bools, classes: Ints) -> None:
        """Fill up to the exact total: classes even, val's share exact, groups taking turns."""
        position = np.full(len(self._all.codes), -1)
        position[classes] = np.arange(len(classes))
        frames = np.flatnonzero(usable)
        frames = frames[position[self._all.code[frames]] >= 0]
        held = self._held(usable, classes)
        is_held = np.zeros(len(self._all.groups), dtype=bool)
        is_held[np.concatenate([*held.values()])] = True
        side = np.where(is_held[self._all.group[frames]], VAL, TRAIN)
        index, group = position[self._all.code[frames]], self._all.group[frames]
        capacity = np.bincount(index * 2 + side, minlength=2 * len(classes)).reshape(-1, 2)
        quota = self._quotas(split, classes, capacity)
        place = turns(index * 2 + side, group, self._group_order[group], self._frame_order[frames])
        taken = place < quota[index, side]
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
                f"{self._key}.val_share is {wanted.val_share:g}; with capture groups whole and "
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
                f"{self._key}.samples leaves {total:,} single photos, the least counts of "
                f"{len(capacity):,} classes need {needed.sum():,}.",
                f"Raise {self._key}.samples, or lower {self._key}.classes, "
                f"{self._key}.min_train_per_class, {self._key}.min_val_per_class or "
                f"{self._key}.combination_share.",
            )

    def _test(self, split: Ints, usable: Bools, is_class: Bools) -> None:
        """AI Hub's val part: combinations of known codes, singles of codes never trained on."""
        unknown_pills = np.bincount(
            self._all.pill_frame, ~is_class[self._all.pill_code], len(split)
        )
        trained = np.zeros(len(self._all.groups), dtype=bool)
        trained[self._all.group[split != NOWHERE]] = True
        foreign = ~trained[self._all.group]
        split[usable & ~self._all.single & (unknown_pills == 0) & foreign] = TEST
        seen = is_class.copy()
        seen[self._all.pill_code[split[self._all.pill_frame] != NOWHERE]] = True
        frames = np.flatnonzero(usable & self._all.single)
        frames = frames[~seen[self._all.code[frames]]]
        split[self._spread(frames, self._wanted.test_unknown_pills)] = TEST
