"""The photos of a tree: folders, shards, pills and views, chosen from a seed."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil

import numpy as np

from pillsnap.dataset.names import View
from pillsnap.demo.backdrops import PHONE
from pillsnap.demo.pills import DrawnPill, Pills, invent_pills, invent_unknown
from pillsnap.errors import ParameterError
from pillsnap.params import DemoParams

BACKS, LIGHTS, SIDES = (0, 1, 2), (0, 1, 2), (0, 1)
LATITUDES, LONGITUDES = (60, 70, 75, 90), tuple(range(0, 360, 20))
COMBINATION_LATITUDES = (70, 75, 90)
SETTINGS = list(product(BACKS, LIGHTS, SIDES))
SIZE = 200  # of all photos in their file names
CODES_PER_SHARD, FOLDERS_PER_SHARD, COMBINATION_SHARDS = 50, 25, 8
PILLS_IN_FOLDER = ((2, 0.04), (3, 0.08), (4, 0.88))
FOLDERS_PER_STRAY = 40  # one in so many shows a code without single photos
CODES_PER_ABSENT = 13  # one code in so many occurs in no combination
BACK_SIDE_EVERY = 20  # one combination folder in so many shows the back
Settings = Sequence[tuple[int, int, int]]  # background, light, side
Views = tuple[View, ...]


@dataclass(frozen=True)
class PlannedFolder:
    """The photos of one code, or of one combination, in one shard; `part` is train or val."""

    part: str
    shard: int
    pills: tuple[DrawnPill, ...]
    views: tuple[View, ...]

    @property
    def is_combination(self) -> bool:
        """Whether each photo shows several pills."""
        return len(self.pills) > 1

    @property
    def name(self) -> str:
        """K-a or K-a-b-c-d, six digits each, ascending."""
        return "K-" + "-".join(pill.code[2:] for pill in self.pills)

    def folder(self, what: str) -> str:
        """Folder of the "images" or "labels", relative to the root, with `/`."""
        kind, short = ("combination", "combo") if self.is_combination else ("single", "single")
        letters = ("T" if self.part == "train" else "V") + ("S" if what == "images" else "L")
        return f"{self.part}/{what}/{kind}/{letters}_{self.shard}_{short}/{self.name}"

    def label_dir(self, pill: DrawnPill) -> str:
        """Folder of the labels of `pill`, relative to the root, with `/`."""
        whole = f"{self.folder('labels')}_json"
        return f"{whole}/{pill.code}" if self.is_combination else whole

    def stem(self, view: View) -> str:
        """The file name that a photo and its labels share, without ending."""
        return f"{self.name}_{view}"


def plan_tree(demo: DemoParams, seed: int) -> list[PlannedFolder]:
    """All folders of a tree; ParameterError for too many combinations."""
    strays = ceil(demo.combination_folders / FOLDERS_PER_STRAY)
    pills = invent_pills(demo.classes + strays, seed)
    order = named_rng(seed, "roles").permutation(len(pills))
    known = sorted((pills[i] for i in order[: demo.classes]), key=lambda p: p.code)
    stray = [pills[i] for i in order[demo.classes :]]
    others = demo.unknown_classes - demo.unknown_twins
    unknown = invent_unknown(known, others, demo.unknown_twins, seed)
    views = {pill: _views(pill, SETTINGS, demo.photos_per_group, seed) for pill in known}
    of_test = {pill: _test_views(pill, demo.unknown_photos, seed) for pill in unknown}
    if demo.phone_photos:
        of_test |= {pill: _phone_views(pill, demo.phone_photos, seed) for pill in known}
    taken: set[str] = set()
    count, tests = demo.combination_folders, demo.test_combination_folders
    return [
        *_singles("train", views),
        *_combinations("train", count, known, stray, taken, seed),
        *_singles("val", of_test),
        *_combinations("val", tests, known, [], taken, seed),
    ]


def named_rng(seed: int, name: str) -> np.random.Generator:
    """A generator that depends on the seed and a name only, never on order."""
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])


def _singles(part: str, views_of: Mapping[DrawnPill, Views]) -> Iterator[PlannedFolder]:
    """One folder per code; the second code's photos are split over its own and the last shard."""
    per_shard = min(CODES_PER_SHARD, ceil(len(views_of) / 3))
    shards = ceil(len(views_of) / per_shard)
    for index, pill in enumerate(sorted(views_of, key=lambda pill: pill.code)):
        views = views_of[pill]
        shard = 1 + index // per_shard
        if index == 1 and part == "train" and shards > 1:
            yield PlannedFolder(part, shards, (pill,), views[1::2])
            views = views[::2]
        yield PlannedFolder(part, shard, (pill,), views)


def _views(pill: DrawnPill, settings: Settings, per_setting: int, seed: int) -> Views:
    """So many photos under each setting, from different angles."""
    angles, views = list(product(LATITUDES, LONGITUDES)), []
    for back, light, side in settings:
        rng = named_rng(seed, f"views {pill.code} {back} {light} {side}")
        picks = sorted(rng.choice(len(angles), size=per_setting, replace=False).tolist())
        chosen = (angles[pick] for pick in picks)
        views += [View(0, back, side, light, height, turn, SIZE) for height, turn in chosen]
    return tuple(views)


def _test_views(pill: DrawnPill, count: int, seed: int) -> Views:
    """Photos of an unknown pill under different settings."""
    order = named_rng(seed, f"settings {pill.code}").permutation(len(SETTINGS))
    return _views(pill, [SETTINGS[i] for i in order[:count]], 1, seed)


def _phone_views(pill: DrawnPill, count: int, seed: int) -> Views:
    """Front and back in turn, on a desk, from different angles."""
    rng = named_rng(seed, f"phone {pill.code}")
    turns = rng.choice(LONGITUDES, size=count, replace=False).tolist()
    latitudes = rng.choice(LATITUDES, size=count).tolist()
    return tuple(
        View(0, PHONE, index % 2, PHONE, latitude, turn, SIZE)
        for index, (latitude, turn) in enumerate(zip(latitudes, turns, strict=True))
    )


def _combinations(
    part: str, count: int, known: Pills, stray: Pills, taken: set[str], seed: int
) -> Iterator[PlannedFolder]:
    """Folders of 2 to 4 known pills, evenly chosen; now and then a stray code replaces one."""
    rng = named_rng(seed, f"combinations {part}")
    usable = known[: len(known) - len(known) // CODES_PER_ABSENT]
    shards = min(COMBINATION_SHARDS, ceil(count / FOLDERS_PER_SHARD)) if part == "train" else 1
    deck: list[DrawnPill] = []
    for index in range(count):
        size = int(rng.choice([n for n, _ in PILLS_IN_FOLDER], p=[p for _, p in PILLS_IN_FOLDER]))
        replacing = stray and not index % FOLDERS_PER_STRAY
        side = int(index % BACK_SIDE_EVERY == 7)
        views = tuple(View(0, 2, side, 2, angle, 0, SIZE) for angle in COMBINATION_LATITUDES)
        for _ in range(200):
            hand = _deal(deck, usable, size, rng)
            if replacing:
                hand[0] = stray[index // FOLDERS_PER_STRAY]
            pills = tuple(sorted(hand, key=lambda p: p.code))
            folder = PlannedFolder(part, 1 + index * shards // count, pills, views)
            if folder.name not in taken:
                break
        else:
            fact = f"{count} combination folders cannot be made of {len(usable)} codes."
            raise ParameterError(fact, "Raise demo.classes or lower demo.combination_folders.")
        taken.add(folder.name)
        yield folder


def _deal(
    deck: list[DrawnPill], pills: Pills, size: int, rng: np.random.Generator
) -> list[DrawnPill]:
    """Take `size` different pills from the deck; shuffled sets of all pills refill it."""
    hand: list[DrawnPill] = []
    while len(hand) < size:
        fresh = next((i for i, pill in enumerate(deck) if pill not in hand), None)
        if fresh is None:
            deck.extend(pills[i] for i in rng.permutation(len(pills)))
        else:
            hand.append(deck.pop(fresh))
    return hand
