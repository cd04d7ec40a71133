"""Allocation of groups, quotas and turns."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillsnap.manifest.shares import fill_up, hashes, held_out, level_fill, round_robin


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def test_a_hash_depends_on_name_and_seed_alone():
    assert list(hashes(["a", "b"], 1)) == list(hashes(["b", "a"], 1))[::-1]
    assert hashes(["a"], 1) != hashes(["a"], 2)
    assert hashes(["a"], 1 << 70).dtype == np.uint64


@pytest.mark.parametrize(
    ("sizes", "target", "least_held", "least_kept", "held"),
    [
        ((5, 5, 5, 5), 9.0, 1, 1, [0, 1]),  # the first, nearest to the target
        ((5, 5, 5, 5), 1.0, 8, 1, [0, 1]),
        ((5, 5, 5, 5), 19.0, 1, 8, [0, 1]),
        ((90, 8, 2), 10.0, 5, 50, [1]),  # one alone where the first will not do
        *((sizes, 2.0, 5, 3, None) for sizes in ((), (9,), (4, 4))),
    ],
)
def test_groups_are_held_out_whole(sizes, target, least_held, least_kept, held):
    found = held_out(ints(*sizes), target, least_held, least_kept)
    assert (found if found is None else list(found)) == held


def test_shares_are_level_within_their_bounds():
    shares = level_fill(20, ints(0, 9, 0, 0), ints(2, 20, 20, 20), hashes("abcd", 0))
    assert shares.sum() == 20
    assert shares[0] == 2 and shares[1] == 9
    assert sorted(shares[2:]) == [4, 5]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1), st.floats(0, 1))
def test_shares_add_up_within_bounds(bounds, at):
    low = ints(*(one for one, _ in bounds))
    high = low + ints(*(more for _, more in bounds))
    total = int(low.sum() + at * (high.sum() - low.sum()))
    shares = level_fill(total, low, high, hashes(map(str, range(len(bounds))), 0))
    assert shares.sum() == total
    assert (low <= shares).all() and (shares <= high).all()
    free = shares[(low < shares) & (shares < high)]
    assert len(free) == 0 or free.max() - free.min() <= 1


def test_groups_take_turns_within_a_bin():
    bins, groups = ints(0, 0, 0, 0, 1), ints(0, 0, 0, 1, 2)
    order = np.arange(5, dtype=np.uint64)
    places = round_robin(bins, groups, order[groups], order)
    assert list(places) == [0, 2, 3, 1, 0]


def test_frames_fill_up_to_the_total_and_never_over():
    taken = fill_up(ints(4, 4, 3, 2, 1), np.array([0, 1, 2, 3, 4]), 10)
    assert list(taken) == [True, True, False, True, False]
    assert ints(4, 4, 3, 2, 1)[taken].sum() == 10
