"""Chooses classes and photos, given file names and counts: exact totals, whole groups."""

from dataclasses import dataclass

import numpy as np

from pillsnap.arrays import Bools, Ints
from pillsnap.manifest.classes import ClassChooser, ShortageError
from pillsnap.manifest.shares import fill_up, level_fill, round_robin

UNUSED, TRAIN, VAL, TEST = -1, 0, 1, 2
VAL_SHARE_TOLERANCE = 0.005  # of the samples


@dataclass(frozen=True)
class Choice:
    """The classes in the order of their K-codes, and the split of each photo."""

    classes: Ints  # [classes] numbers in Candidates.codes
    left_out: Ints  # [left_out_classes] likewise
    split: Ints  # [frames] UNUSED | TRAIN | VAL | TEST


class Chooser(ClassChooser):
    """Chooses at one scale with one seed; called again when photos turn out invalid."""

    def choose(self, usable: Bools) -> Choice:
        """Choose among the usable photos; ShortageError says what there is too little of."""
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

    def _combinations(self, split: Ints, usable: Bools, is_class: Bools) -> None:
        """Photos with few unknown pills first; combinations take turns."""
        total = round(self._wanted.samples * self._wanted.combination_share)
        frames = np.flatnonzero(usable)
        pills, group = self._pills[frames], self._all.group[frames]
        if pills.sum() < total:
            out = self._unknown.left_out_classes
            without = f" without the {out:,} left-out codes" if out else ""
            raise ShortageError(
                f"{self._key}.combination_share asks for {total:,} pills of combination photos; "
                f"train/ holds {pills.sum():,} in complete, readable ones{without}.",
                {"combination_share": self._share_of(int(pills.sum()))}
                if self._has_singles
                else {"samples": int(pills.sum())},
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

    def _val_unknown(self, split: Ints, usable: Bools, is_class: Bools) -> None:
        """Unknown pills count as samples of val; photos of the classes fill up the rest."""
        wanted = self._unknown.val_unknown_pills
        frames = np.flatnonzero(usable)
        frames = frames[~is_class[self._all.code[frames]]]
        if len(frames) < wanted:
            raise ShortageError(
                f"build_manifest.val_unknown_pills asks for {wanted:,} single photos of codes "
                f"that are no class; train/ holds {len(frames):,}.",
                {"val_unknown_pills": len(frames)},
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
        for groups in held.values():
            is_held[groups] = True
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
            raise ShortageError(
                f"{self._key}.val_share is {wanted.val_share:g}; with whole capture groups and "
                f"{wanted.samples:,} samples the nearest possible is {share:.4f}.",
                {"val_share": round(share, 4)},
            )
        val = level_fill(in_val, low, high, order)
        return np.stack([quota - val, val], axis=1)

    def _refuse_shortage(self, total: int, needed: Ints, capacity: Ints) -> None:
        wanted, unknown = self._wanted, self._unknown.val_unknown_pills
        others, singles = wanted.samples - total, int(capacity.sum())
        of_singles = 1 - wanted.combination_share
        scarce = int((needed > capacity).any(axis=1).sum())
        if scarce:
            raise ShortageError(
                f"{self._key}.classes asks for {wanted.classes:,} classes; the chosen "
                f"combinations give {scarce:,} of them fewer pills than the minimum counts.",
                self._fewer_classes(len(needed) - scarce + self._unknown.left_out_classes)
                if self._has_singles or not of_singles
                else {"combination_share": 1.0},
            )
        if singles < total:
            most = int((singles + unknown) / of_singles) if of_singles else singles + others
            raise ShortageError(
                f"{self._key}.samples asks for {wanted.samples:,} pills; the chosen "
                f"{len(capacity):,} classes have {singles:,} usable single photos, and "
                f"{others:,} pills are of combinations or unknown.",
                {"samples": min(most, singles + others)}
                if singles or not of_singles
                else {"combination_share": 1.0},
            )
        if needed.sum() > total:
            least = int((int(needed.sum()) + unknown) / (of_singles or 1)) + 1
            raise ShortageError(
                f"{self._key}.samples leaves {total:,} single photos, the minimum counts of "
                f"{len(capacity):,} classes need {needed.sum():,}.",
                {"samples": max(least, int(needed.sum()) + others)}
                if of_singles
                else {"combination_share": self._share_of(total + others - int(needed.sum()))},
            )

    def _test(self, split: Ints, usable: Bools, is_class: Bools) -> None:
        """From AI Hub's val part: photos of known codes only whose capture group is not used, and
        singles of codes not in train."""
        unknown_pills = np.bincount(
            self._all.pill_frame, ~is_class[self._all.pill_code], len(split)
        )
        trained = np.zeros(len(self._all.groups), dtype=bool)
        trained[self._all.group[split != UNUSED]] = True
        not_trained = ~trained[self._all.group]
        split[usable & (unknown_pills == 0) & not_trained] = TEST
        trained_codes = is_class.copy()
        trained_codes[self._all.pill_code[split[self._all.pill_frame] != UNUSED]] = True
        frames = np.flatnonzero(usable & self._all.single)
        frames = frames[~trained_codes[self._all.code[frames]]]
        split[self._evenly(frames, self._wanted.test_unknown_pills)] = TEST
