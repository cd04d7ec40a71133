"""The choice of classes and photos, on candidates made here without files."""

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pillsnap import params
from pillsnap.dataset.names import View
from pillsnap.manifest import advice
from pillsnap.manifest.candidates import COMBINATION, Candidates
from pillsnap.manifest.choice import TEST, TRAIN, UNUSED, VAL, Choice, Chooser
from pillsnap.manifest.classes import ShortageError, UnknownPills
from pillsnap.params import ScaleParams

SCALES = params.load(Path(__file__).parents[2] / "params.yaml").scales
NONE, OUT = UnknownPills(0, 0), UnknownPills(3, 0)
KEYS = (
    "samples", "classes", "combination_share", "val_share", "min_train_per_class",
    "min_val_per_class",
)  # fmt: skip


def wanted(*values: float, test_unknown_pills: int = 0) -> ScaleParams:
    """The numbers of a scale, in the order of KEYS."""
    values_by_key = dict(zip(KEYS, values, strict=True))
    return SCALES["stage1"].model_copy(
        update={**values_by_key, "test_unknown_pills": test_unknown_pills}
    )


def candidates(singles, combos=(), unknown=None, test_combos=()):
    """Singles: photos of each group by code; combos: codes and number of frames; then val's."""
    stems: list[str] = []
    columns: list[tuple[int, int, bool, int]] = []  # group, code, train, pills
    groups: dict[str, int] = {}
    pills: list[tuple[int, int, int]] = []
    for train, sizes, sets in ((True, singles, combos), (False, unknown or {}, test_combos)):
        named = [
            (f"s{code}g{group}", (code,), size)
            for code, of_code in sizes.items()
            for group, size in enumerate(of_code)
        ]
        named += [("c" + "-".join(map(str, codes)), codes, size) for codes, size in sets]
        for name, codes, size in named:
            number = groups.setdefault(name, len(groups))
            for at in range(size):
                pills += [(len(stems), code, 0) for code in codes]
                stems.append(f"{name}n{at}")
                code = codes[0] if len(codes) == 1 else COMBINATION
                columns.append((number, code, train, len(codes)))
    group, code, train, _ = np.array(columns).T
    count = max(one for _, one, _ in pills) + 1
    zeros = np.zeros(len(stems), dtype=np.int64)
    return Candidates(
        [], [f"K-{number:06d}" for number in range(count)], list(groups), [View(*range(7))], stems,
        zeros, zeros, group, code, train.astype(bool), zeros, zeros == 0, *np.array(pills).T,
    )  # fmt: skip


def choose(frames, scale, unknown_pills=NONE, seed=17):
    return Chooser(frames, scale, unknown_pills, "stage1", seed).choose(frames.complete)


def pills_of(frames: Candidates, choice: Choice, split: int) -> int:
    return int(frames.pills[choice.split == split].sum())


def combination_pills(frames: Candidates, choice: Choice) -> int:
    chosen = np.isin(choice.split, [TRAIN, VAL])
    return int(frames.pills[chosen & ~frames.single].sum())


def per_class(frames: Candidates, choice: Choice, split: int) -> np.ndarray:
    here = choice.split[frames.pill_frame] == split
    return np.bincount(frames.pill_code[here], minlength=len(frames.codes))[choice.classes]


def split_groups(frames: Candidates, choice: Choice) -> int:
    splits = {
        group: set(choice.split[frames.group == group]) - {UNUSED}
        for group in range(len(frames.groups))
    }
    return sum(len(one) > 1 for one in splits.values())


EVEN = candidates({code: [10] * 18 for code in range(12)}, [((0, 1, 2, 3), 3), ((4, 5, 6), 3)])


def test_stage3_has_its_counts_and_shares_exactly_and_evenly():
    rng = np.random.default_rng(0)
    combos = [(tuple(map(int, rng.choice(118, 4, replace=False))), 3) for _ in range(700)]
    frames = candidates({code: [6] * 18 for code in range(1060)}, combos)
    choice = choose(frames, SCALES["stage3"])
    assert [pills_of(frames, choice, side) for side in (TRAIN, VAL)] == [81_475, 18_525]
    assert list(choice.classes) == sorted(set(choice.classes)) and len(choice.classes) == 1000
    assert combination_pills(frames, choice) == 5_000
    assert not set(frames.group[choice.split == TRAIN]) & set(frames.group[choice.split == VAL])
    single = np.isin(choice.split, [TRAIN, VAL]) & frames.single
    assert set(np.bincount(frames.code[single])[choice.classes]) == {95}
    train = np.bincount(frames.group[(choice.split == TRAIN) & frames.single])
    assert train.max() - train[train > 0].min() <= 2


def test_combinations_fall_short_by_less_than_a_frame_and_singles_make_up_the_total():
    for samples, share, low, high in ((400, 0.05, 17, 20), (401, 0.0471, 16, 19), (400, 0.0, 0, 0)):
        choice = choose(EVEN, wanted(samples, 8, share, 0.2, 5, 2))
        assert low <= combination_pills(EVEN, choice) <= high
        assert pills_of(EVEN, choice, TRAIN) + pills_of(EVEN, choice, VAL) == samples


def test_every_class_has_its_minimum_counts():
    frames = candidates({0: [5, 5, 2], 1: [200, 30, 30], 2: [90, 60, 60]})
    choice = choose(frames, wanted(200, 3, 0.0, 0.15, 8, 2))
    assert per_class(frames, choice, TRAIN).min() >= 8
    assert per_class(frames, choice, VAL).min() >= 2


def test_val_is_met_within_half_a_percent_when_every_photo_is_needed():
    frames = candidates({code: [3] * 18 for code in range(24)})
    choice = choose(frames, wanted(24 * 54, 24, 0.0, 0.2, 20, 4))
    assert abs(pills_of(frames, choice, VAL) / (24 * 54) - 0.2) <= 0.005
    assert split_groups(frames, choice) == 0


def test_codes_seen_in_combinations_become_classes_first_then_the_largest():
    scale = wanted(60, 2, 0.0, 0.3, 5, 2)
    singles = {0: [20] * 3, 1: [21] * 3, 2: [90] * 3}
    assert set(choose(candidates(singles, [((0, 1), 3)]), scale).classes) == {0, 1}
    assert set(choose(candidates(singles), scale).classes) == {1, 2}


def test_the_seed_decides_between_equals_and_on_the_photos():
    frames = candidates({code: [9] * 3 for code in range(40)})
    choices = [choose(frames, wanted(60, 5, 0.0, 0.3, 3, 1), OUT, seed) for seed in (1, 1, 2, 3, 4)]
    for chosen in (
        [tuple(one.classes) for one in choices],
        [tuple(one.left_out) for one in choices],
    ):
        assert chosen[0] == chosen[1]
        assert len(set(chosen)) > 1
    scale = wanted(400, 8, 0.05, 0.2, 5, 2)
    assert (choose(EVEN, scale, seed=1).split != choose(EVEN, scale, seed=2).split).any()


def test_test_holds_all_combinations_of_known_codes_that_were_not_trained_on():
    frames = candidates(
        {code: [10] * 6 for code in range(4)}, [((0, 1), 3), ((2, 3), 3)],
        test_combos=[((0, 2), 3), ((1, 3), 2), ((0, 77), 3), ((0, 1), 3)],
    )  # fmt: skip
    choice = choose(frames, wanted(100, 4, 0.12, 0.2, 5, 2))
    assert pills_of(frames, choice, TEST) == 10


def test_unknown_singles_are_spread_over_their_codes():
    frames = candidates({code: [10] * 6 for code in range(4)}, unknown={7: [9] * 4, 8: [9], 9: [1]})
    choice = choose(frames, wanted(100, 4, 0.0, 0.2, 5, 2, test_unknown_pills=11))
    counts = np.bincount(frames.code[choice.split == TEST], minlength=10)
    assert list(counts[7:]) == [5, 5, 1]


def test_singles_of_codes_in_train_are_no_unknowns():
    frames = candidates(
        {code: [10] * 6 for code in range(4)}, [((0, 1, 9), 3)], unknown={9: [5], 0: [5], 8: [5]}
    )
    choice = choose(frames, wanted(100, 4, 0.09, 0.2, 5, 2, test_unknown_pills=50))
    assert set(frames.code[choice.split == TEST]) == {8}


@pytest.mark.parametrize(
    ("scale", "unknown", "facts"),
    [
        (wanted(400, 13, 0.05, 0.2, 5, 2), NONE, ["for 13", "; 12 of the 12", "classes=12"]),
        (wanted(400, 8, 0.05, 0.2, 5, 200), NONE, ["; 0 of the 12", "min_val_per_class="]),
        (wanted(9000, 8, 0.0, 0.2, 5, 2), NONE, ["samples asks for 9,000", "samples=1440"]),
        (wanted(400, 8, 0.5, 0.2, 5, 2), NONE, ["for 200 pills", "holds 21", "share=0.0525"]),
        (wanted(60, 8, 0.0, 0.2, 9, 2), NONE, ["leaves 60 single", "need 88", "samples=89"]),
        (wanted(1440, 8, 0.0, 0.004, 5, 2), NONE, ["is 0.004", "possible is 0.05", "val_share="]),
        (wanted(9000, 99, 0.5, 0.2, 9, 400), NONE, ["classes=12", "samples=", "_share="]),
        (wanted(400, 10, 0.05, 0.2, 5, 2), OUT, ["left_out_classes for 3 more; 12 of", "classes="]),
        (wanted(400, 8, 0.05, 0.2, 5, 2), UnknownPills(1, 2000), ["holds 540"]),
    ],
)
def test_a_shortage_says_how_many_there_are_and_what_to_set(scale, unknown, facts):
    chooser = Chooser(EVEN, scale, unknown, "stage1", 17)
    with pytest.raises(ShortageError) as refusal:
        chooser.choose(EVEN.complete)
    text = f"{refusal.value.fact}\n{advice.cure(chooser, EVEN.complete, 'stage1')}"
    assert [fact for fact in facts if fact not in text] == []


def followed(line: str, scale: ScaleParams, unknown: UnknownPills) -> tuple[ScaleParams, Any]:
    """The settings after `-S key=value` of a cure, checked as params.yaml is."""
    pairs = re.findall(r"-S (\S+)\.(\w+)=(\S+)", line)
    values = {(where, key): float(value) for where, key, value in pairs}
    tree = scale.model_dump()
    for (where, key), value in values.items():
        if where == "scales.stage1":
            tree[key] = type(tree[key])(value)
    own = {key: int(value) for (where, key), value in values.items() if where == "build_manifest"}
    return ScaleParams.model_validate(tree), replace(unknown, **own)


def random_shortage(number: int) -> tuple[Candidates, ScaleParams, UnknownPills]:
    """A small tree, every fifth of combinations alone, and settings that mostly ask for more."""
    rng = np.random.default_rng(number)
    codes = int(rng.integers(2, 14))
    groups = {code: rng.integers(1, 9, int(rng.integers(1, 7))).tolist() for code in range(codes)}
    sets = [tuple(rng.permutation(codes + 2)[: rng.integers(2, 5)].tolist()) for _ in range(30)]
    combos = [(one, 3) for one in dict.fromkeys(sets[int(rng.integers(30)) * (number % 5 > 0) :])]
    scale = wanted(
        int(rng.integers(50, 9000)), int(rng.integers(2, 30)), rng.choice([0, 0.05, 0.3, 0.9, 1]),
        rng.choice([0.1, 0.2, 0.4]), int(rng.integers(1, 40)), int(rng.integers(1, 9)),
    )  # fmt: skip
    frames = candidates(groups if number % 5 else {}, combos)
    return frames, scale, UnknownPills(int(rng.integers(3)), int(rng.choice([0, 0, 9])))


def test_the_advice_of_200_random_shortages_works_the_first_time():
    hopeless = 0
    for number in range(200):
        frames, scale, unknown = random_shortage(number)
        chooser = Chooser(frames, scale, unknown, "stage1", number)
        line = advice.cure(chooser, frames.complete, "stage1")
        hopeless += "no settings" in line
        if "no settings" not in line:
            choose(frames, *followed(line, scale, unknown), seed=number)
    assert hopeless <= 4


COMBINED = candidates({}, [(codes, 3) for codes in itertools.combinations(range(9), 3)])


def test_combinations_alone_are_enough():
    every = int(COMBINED.pills.sum())
    choice = choose(COMBINED, wanted(every, 9, 1.0, 0.2, 8, 2))
    assert len(choice.classes) == 9
    assert pills_of(COMBINED, choice, TRAIN) + pills_of(COMBINED, choice, VAL) == every
    assert per_class(COMBINED, choice, TRAIN).min() >= 8
    assert split_groups(COMBINED, choice) == 0


def test_codes_with_combinations_alone_are_classes_where_others_are_too_few():
    frames = candidates({code: [10] * 6 for code in range(4)}, [((0, 1, 9), 3)] * 1 + [
        ((code, 9), 3) for code in range(4)])  # fmt: skip
    assert 9 not in choose(frames, wanted(100, 4, 0.2, 0.2, 5, 2)).classes
    assert 9 in choose(frames, wanted(120, 5, 0.25, 0.2, 5, 2)).classes


COMBOS = [((0, 1, 2, 3), 3), ((4, 5, 6), 3), ((0, 5, 7), 3), ((1, 4, 9), 3)]
MIXED = candidates({code: [10] * 18 for code in range(12)}, COMBOS, {77: [9] * 4})


def test_left_out_codes_are_of_no_combination_and_no_class_and_their_singles_are_tested():
    choice = choose(MIXED, wanted(400, 8, 0.03, 0.2, 5, 2, test_unknown_pills=90), OUT)
    tested = MIXED.code[(choice.split == TEST) & MIXED.train]
    assert list(choice.left_out) == [8, 10, 11]
    assert not set(choice.left_out) & set(choice.classes)
    assert list(np.bincount(tested, minlength=12)) == [0] * 8 + [30, 0, 30, 30]
    assert [pills_of(MIXED, choice, side) for side in (TRAIN, VAL)] == [320, 80]


def test_left_out_codes_are_not_in_train_or_val():
    pairs = [((code, other), 3) for code in range(8) for other in range(code)]
    frames = candidates({code: [10] * 18 for code in range(8)}, pairs)
    choice = choose(frames, wanted(200, 5, 0.02, 0.2, 5, 2), unknown_pills=OUT)
    here = np.isin(choice.split[frames.pill_frame], [TRAIN, VAL])
    assert not set(choice.left_out) & set(frames.pill_code[here])


def test_unknown_pills_of_val_count_as_its_samples():
    choice = choose(MIXED, wanted(400, 8, 0.03, 0.2, 5, 2), unknown_pills=UnknownPills(1, 20))
    in_val = MIXED.code[(choice.split == VAL) & MIXED.single]
    unknown = in_val[~np.isin(in_val, choice.classes)]
    assert len(unknown) == 20
    assert not set(unknown) & set(choice.left_out)
    assert [pills_of(MIXED, choice, side) for side in (TRAIN, VAL)] == [320, 80]
    assert split_groups(MIXED, choice) == 0
