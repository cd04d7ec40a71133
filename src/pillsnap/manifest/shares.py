"""Allocation: whole groups to val, even quotas for classes, round robin over groups.

Everything depends on names and the seed (through hashes), never on the order of a listing.
"""

from collections.abc import Iterable

import numpy as np
import xxhash

from pillsnap.arrays import Bools, Hashes, Ints


def hashes(names: Iterable[str], seed: int) -> Hashes:
    """A 64-bit number per name: a random order, the same on every machine."""
    digest = xxhash.xxh3_64_intdigest
    keyed = seed % (1 << 64)
    return np.fromiter((digest(name.encode(), keyed) for name in names), dtype=np.uint64)


def held_out(sizes: Ints, target: float, least_held: int, least_kept: int) -> Ints | None:
    """Indices of the groups to hold out whole, so that their sizes add up to about `target`.

    The first few in the order given, else a single one; at least `least_held` (and 1) are held
    out, at least `least_kept` (and 1) kept. None where whole groups cannot do that.
    """
    total = int(sizes.sum())
    first = np.cumsum(sizes)
    for held, alone in ((first, False), (sizes, True)):
        fits = (held >= max(least_held, 1)) & (total - held >= max(least_kept, 1))
        if fits.any():
            best = int(np.argmin(np.where(fits, np.abs(held - target), np.inf)))
            return np.array([best]) if alone else np.arange(best + 1)
    return None


def level_fill(total: int, low: Ints, high: Ints, order: Hashes) -> Ints:
    """Distribute `total` as evenly as low <= share <= high allow: [n], the sum is `total`.

    The remainder after equal shares goes, one each, to the first by `order`.
    """
    assert low.sum() <= total <= high.sum(), (low.sum(), total, high.sum())
    assert (low <= high).all()
    level, above = 0, int(high.max(initial=0)) + 1
    while above - level > 1:
        middle = (level + above) // 2
        if np.clip(middle, low, high).sum() <= total:
            level = middle
        else:
            above = middle
    shares = np.asarray(np.clip(level, low, high), dtype=np.int64)
    growing = np.flatnonzero((low <= level) & (level < high))
    growing = growing[np.argsort(order[growing], kind="stable")]
    shares[growing[: total - int(shares.sum())]] += 1
    return shares


def round_robin(bins: Ints, groups: Ints, group_order: Hashes, order: Hashes) -> Ints:
    """The position [n] of each item in its bin when the bin's groups take turns.

    `group_order`: of each item's group; `order`: of the item in its group. Taking positions
    0..quota-1 of a bin spreads the quota evenly over its groups.
    """
    lap = _position_in_run(np.lexsort((order, groups, bins)), bins, groups)
    return _position_in_run(np.lexsort((order, group_order, lap, bins)), bins, None)


def _position_in_run(sorting: Ints, bins: Ints, groups: Ints | None) -> Ints:
    """Position of each item among those of equal bin (and group), in the order of `sorting`."""
    changed = np.ones(len(sorting), dtype=bool)
    if len(sorting):
        changed[1:] = np.diff(bins[sorting]) != 0
        if groups is not None:
            changed[1:] |= np.diff(groups[sorting]) != 0
    starts = np.flatnonzero(changed)
    lengths = np.diff(np.append(starts, len(sorting)))
    positions = np.empty(len(sorting), dtype=np.int64)
    positions[sorting] = np.arange(len(sorting)) - np.repeat(starts, lengths)
    return positions


def fill_up(pills: Ints, order: Ints, total: int) -> Bools:
    """Which photos to take, in `order`, while their pills do not exceed `total`.

    The sum falls short of `total` by less than the smallest photo left over.
    """
    taken = np.zeros(len(pills), dtype=bool)
    for frame in order:
        if pills[frame] <= total:
            taken[frame] = True
            total -= int(pills[frame])
        if total == 0:
            break
    return taken
