"""The pictures chosen for each photo, from the rows only: even, limited, stable."""

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from pillsnap.validation.pictures import choose, kinds_of
from pillsnap.validation.work_store import Kind

NONE: frozenset[str] = frozenset()


def test_val_gets_its_part_of_single_detection_frames(untouched):
    kinds = kinds_of(untouched.rows, NONE, untouched.params.at_scale, untouched.params.seed)
    every = untouched.rows.drop_duplicates("image_path")
    chosen = every[[Kind.DETECTION in kinds[path] for path in every["image_path"]]]
    singles = chosen[chosen["image_type"] == "single"].groupby("split").size()
    share = untouched.params.at_scale.val_share
    wanted = untouched.params.at_scale.detection_single_frames
    assert dict(singles) == {"train": wanted, "val": round(wanted * share / (1 - share))}


def test_evaluation_frames_are_limited_for_each_kind(untouched):
    few = untouched.params.at_scale.model_copy(update={"evaluation_frames": 1})
    kinds = kinds_of(untouched.rows, NONE, few, untouched.params.seed)
    assert sum(Kind.FRAME in kind for kind in kinds.values()) == 4


def frames(paths: list[tuple[str, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(paths, columns=["mapping_code", "group_id", "image_path"])


GRID = [
    (f"K-{code}", f"K-{code}/{group}", f"K-{code}/{group}/{i}")
    for code in range(5)
    for group in range(4)
    for i in range(6)
]


def test_codes_and_their_groups_get_equal_shares_of_what_there_is():
    chosen = frames([row for row in GRID if row[2] in choose(frames(GRID), 40, seed=1)])
    assert set(chosen.groupby("mapping_code").size()) == {8}
    assert set(chosen.groupby("group_id").size()) == {2}
    assert len(choose(frames(GRID), 10_000, seed=1)) == len(GRID)
    assert choose(frames([]), 5, seed=1) == set()


def test_the_choice_depends_on_the_seed_and_not_on_the_order():
    table = frames(GRID)
    assert choose(table, 10, seed=1) == choose(table[::-1], 10, seed=1)
    assert choose(table, 10, seed=1) != choose(table, 10, seed=2)


@settings(max_examples=40, deadline=None)
@given(
    st.sets(st.sampled_from(GRID), min_size=1), st.sets(st.sampled_from(GRID)), st.integers(1, 30)
)
def test_added_frames_never_bring_in_an_old_one(before, added, count):
    first = choose(frames(sorted(before)), count, seed=3)
    then = choose(frames(sorted(before | added)), count, seed=3)
    assert then <= first | {path for *_, path in added}
