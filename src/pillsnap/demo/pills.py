"""Invented pills, generated from a seed; most of them differ by their imprint only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import islice

import numpy as np

from pillsnap.demo.drugs import DrugRecord, invent_drug

LETTERS = "ABCDEFGHJKLMNPRSTUVXY"  # none that reads as another when rotated, or as a digit
NUMBERS = (5, 10, 20, 25, 30, 40, 50, 75, 80, 100, 120, 150, 200, 250, 300, 400, 500)
MARKS = 6
PILLS_PER_LOOK = 1.15  # on average this many codes share shape and colour
LOWEST_CODE, HIGHEST_CODE = 900_000, 999_999  # above all codes in use: no real drug
RGB = {
    "하양": (238, 236, 230), "노랑": (240, 206, 92), "분홍": (236, 164, 172),
    "초록": (92, 160, 104), "주황": (234, 142, 70), "갈색": (150, 92, 62),
    "파랑": (92, 138, 204), "빨강": (190, 58, 56), "연두": (178, 206, 112),
    "노랑, 투명": (232, 176, 58),
}  # fmt: skip
TABLET_COLORS = tuple(RGB)[:9]
TABLET_SHAPES = ("원형", "타원형", "장방형", "육각형", "팔각형", "삼각형", "기타")
SHAPE_ODDS = (0.3, 0.18, 0.22, 0.08, 0.08, 0.07, 0.07)
TABLET, HARD_CAPSULE, SOFT_CAPSULE = "tablet", "hard capsule", "soft capsule"
TABLET_FORMS = (
    "필름코팅정", "나정", "서방성필름코팅정", "다층정", "장용성필름코팅정", "구강붕해정",
)  # fmt: skip
CAPSULE_FORMS = {HARD_CAPSULE: "경질캡슐제, 산제", SOFT_CAPSULE: "연질캡슐제, 액상"}


@dataclass(frozen=True)
class Imprint:
    """The imprint of a side: logo or text on the left, score line, text on the right."""

    left: str
    right: str
    mark: int | None
    line: bool
    printed: bool

    @property
    def text(self) -> str:
        """The imprint in the words of the labels: 마크 for a logo, 분할선 for a score line."""
        left = "마크" if self.mark is not None else self.left
        between = "분할선" if self.line else " " if left and self.right else ""
        return f"{left}{between}{self.right}"


@dataclass(frozen=True)
class Look:
    """The appearance that several codes may share: all but imprint and size."""

    kind: str
    shape: str
    colors: tuple[str, ...]


@dataclass(frozen=True)
class Style:
    """What pills of one look share: size in mm, `rgb` per part, letters and logo of imprints."""

    look: Look
    rgb: tuple[tuple[int, int, int], ...]
    long_mm: float
    short_mm: float
    thick_mm: float
    gloss: float
    form: str
    prefix: str
    mark: int


@dataclass(frozen=True)
class DrawnPill(Style):
    """A synthetic pill; the depth of its imprints (front, back) is in mm."""

    code: str
    depth_mm: float
    imprints: tuple[Imprint, Imprint]
    drug: DrugRecord = field(compare=False)


Pills = Sequence[DrawnPill]


def invent_pills(count: int, seed: int) -> list[DrawnPill]:
    """`count` pills in ascending order of code; the same seed gives the same pills."""
    rng = np.random.default_rng([seed, count])
    numbers = rng.choice(HIGHEST_CODE - LOWEST_CODE, size=count, replace=False) + LOWEST_CODE
    looks = _spread_looks(count, rng)
    pills: list[DrawnPill] = []
    seen: dict[Look, set[str]] = {}
    styles = {look: _invent_style(look, rng) for look in dict.fromkeys(looks)}
    for index, (number, look) in enumerate(zip(sorted(numbers.tolist()), looks, strict=True)):
        taken = seen.setdefault(look, set())
        lone = looks.count(look) == 1
        pills.append(_invent_pill(f"K-{number:06d}", index, styles[look], taken, lone, rng))
    return pills


def invent_unknown(trained: Pills, others: int, twins: int, seed: int) -> list[DrawnPill]:
    """Pills of other codes, ascending: `others` with looks that no trained pill has (if there are
    any left), and `twins` with that of a trained pill each; all with imprints of their own."""
    rng = np.random.default_rng([seed, len(trained), others, twins])
    free = np.arange(LOWEST_CODE, HIGHEST_CODE)
    free = np.setdiff1d(free, [int(pill.code[2:]) for pill in trained])
    numbers = np.sort(rng.choice(free, size=others + twins, replace=False)).tolist()
    taken: dict[Look, set[str]] = {}
    for pill in trained:
        taken.setdefault(pill.look, set()).update(side.text for side in pill.imprints)
    drawn = dict.fromkeys(islice(_looks(rng), 60 * others))
    looks = [look for look in drawn if look not in taken] or list(drawn)
    styles = [_invent_style(looks[index % len(looks)], rng) for index in range(others)]
    models = [trained[index] for index in rng.permutation(len(trained))[:twins]]
    names = [field.name for field in fields(Style)]
    styles += [Style(**{name: getattr(model, name) for name in names}) for model in models]
    order = rng.permutation(len(styles)).tolist()
    return [
        _invent_pill(
            f"K-{number:06d}",
            len(trained) + position,
            styles[row],
            taken.setdefault(styles[row].look, set()),
            row < min(others, len(looks)),
            rng,
        )
        for position, (number, row) in enumerate(zip(numbers, order, strict=True))
    ]


def _spread_looks(count: int, rng: np.random.Generator) -> list[Look]:
    unique = list(dict.fromkeys(islice(_looks(rng), 6 * count)))
    chosen = unique[: max(1, round(count / PILLS_PER_LOOK))]
    spare = rng.integers(len(chosen), size=count - len(chosen))
    looks = chosen + [chosen[i] for i in spare]
    return [looks[i] for i in rng.permutation(count)]


def _looks(rng: np.random.Generator) -> Iterator[Look]:
    while True:
        kind = str(rng.choice([TABLET, HARD_CAPSULE, SOFT_CAPSULE], p=[0.74, 0.2, 0.06]))
        if kind == HARD_CAPSULE:
            first, second = rng.choice(TABLET_COLORS, size=2, replace=False)
            yield Look(kind, "장방형", (str(first), str(second)))
        elif kind == SOFT_CAPSULE:
            yield Look(kind, str(rng.choice(["타원형", "장방형"])), ("노랑, 투명",))
        else:
            shape = str(rng.choice(TABLET_SHAPES, p=SHAPE_ODDS))
            odds = np.array([3, 1.4, 1.2, 1, 1, 1, 1, 1, 1])
            yield Look(kind, shape, (str(rng.choice(TABLET_COLORS, p=odds / odds.sum())),))


def _invent_style(look: Look, rng: np.random.Generator) -> Style:
    rgb = tuple(_tinted(RGB[color], rng) for color in look.colors)
    form = CAPSULE_FORMS.get(look.kind) or str(rng.choice(TABLET_FORMS))
    low, high = (0.5, 0.9) if look.kind != TABLET else (0.02, 0.45)
    prefix = "".join(rng.choice(list(LETTERS), size=int(rng.integers(1, 4))))
    sizes, gloss = _invent_sizes(look, rng), float(rng.uniform(low, high))
    return Style(look, rgb, *sizes, gloss, form, prefix, int(rng.integers(MARKS)))


def _tinted(rgb: tuple[int, int, int], rng: np.random.Generator) -> tuple[int, int, int]:
    shifted = np.array(rgb) * rng.uniform(0.93, 1.03) + rng.uniform(-7, 7, size=3)
    red, green, blue = (int(value) for value in np.clip(np.rint(shifted), 20, 248))
    return red, green, blue


def _invent_sizes(look: Look, rng: np.random.Generator) -> tuple[float, float, float]:
    """Length, width and thickness in mm: 125 to 529 px wide at 25 px/mm, as in the data sheet."""
    if look.kind == HARD_CAPSULE:
        short = rng.uniform(5.6, 7.2)
        long, thick = short * rng.uniform(2.3, 2.65), short
    elif look.kind == SOFT_CAPSULE or look.shape == "타원형":
        long = rng.uniform(10.5, 15.5)
        short = long * rng.uniform(0.56, 0.68)
        thick = short * (0.9 if look.kind == SOFT_CAPSULE else 0.5)
    elif look.shape == "장방형":
        long = rng.uniform(13.0, 18.5)
        short = long * rng.uniform(0.38, 0.48)
        thick = short * rng.uniform(0.55, 0.75)
    else:
        long = short = rng.uniform(7.0, 11.5)
        thick = rng.uniform(2.8, 4.2)
    return round(float(long), 1), round(float(short), 1), round(float(thick), 1)


def _invent_pill(
    code: str, index: int, style: Style, taken: set[str], lone: bool, rng: np.random.Generator
) -> DrawnPill:
    tablet = style.look.kind == TABLET
    printed = not tablet or rng.random() < 0.2
    front = _invent_imprint(style, printed, taken, rng)
    if lone and rng.random() < 0.5:
        line = tablet and bool(rng.random() < 0.5)
        back = Imprint(left="", right="", mark=None, line=line, printed=False)
    else:
        back = _invent_imprint(style, printed, taken, rng)
    depth_mm = float(rng.uniform(0.1, 0.2))
    drug = invent_drug(index, code, style.form, rng)
    return DrawnPill(**vars(style), code=code, depth_mm=depth_mm, imprints=(front, back), drug=drug)


def _invent_imprint(
    style: Style, printed: bool, taken: set[str], rng: np.random.Generator
) -> Imprint:
    """An imprint that no other pill of the same look has."""
    while True:
        kind = rng.random()
        number = str(rng.choice(NUMBERS)) if rng.random() < 0.6 else str(rng.integers(10, 89))
        letter = str(rng.choice(list(LETTERS)))
        line = style.look.kind == TABLET and bool(rng.random() < 0.3)
        mark = style.mark if kind < 0.25 else None
        left = "" if mark is not None or (kind > 0.9 and not line) else style.prefix
        right = number if kind < 0.75 else letter + number[:2]
        imprint = Imprint(left=left, right=right, mark=mark, line=line, printed=printed)
        upside_down = set(right) <= set("01689") and set(right) & set("69")  # reads rotated
        if imprint.text not in taken and not upside_down:
            taken.add(imprint.text)
            return imprint
