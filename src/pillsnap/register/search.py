"""Drugs that fit what a person sees, in zones. The true drug is never left out silently: a drug is
excluded only by an imprint, shape or colour that is recorded and contradicts the query."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pillsnap.arrays import Bools, Ints
from pillsnap.imprint import spelling
from pillsnap.register import words
from pillsnap.register.store import Drug

ZONES = {  # the best first; each drug is in one at most
    "exact": "imprint of one side, or of both",
    "prefix": "imprint begins with the query",
    "contains": "imprint contains the query",
    "misread": "read upside down, or with letters that look alike",
    "partial": "recorded imprint is part of the query, or one side is not recorded",
    "no_data": "imprint, shape or colour is not recorded",
}


@dataclass(frozen=True)
class Query:
    """What a person sees; "" where they do not say. Shape and colour are words of the register."""

    imprint: str = ""
    shape: str = ""
    colour: str = ""

    @classmethod
    def of(cls, imprint: str, shape: str, colour: str) -> "Query":
        """A query as typed, in Korean or English; DataError names the words there are."""
        return cls(
            spelling.plain(imprint),
            words.korean_of(shape, words.SHAPES, "shape") if shape else "",
            words.korean_of(colour, words.COLOURS, "colour") if colour else "",
        )


class Index:
    """The drugs of a register, prepared for many queries."""

    def __init__(self, drugs: Sequence[Drug]) -> None:
        self.drugs = drugs
        sides = [(spelling.plain(d.print_front), spelling.plain(d.print_back)) for d in drugs]
        readings = [f"{front}{back}\n{back}{front}" for front, back in sides]  # either side first
        self._sides = np.array(sides, dtype=str).reshape(-1, 2)
        self._readings = np.array(readings, dtype=str)
        self._look_alike = np.array(list(map(spelling.look_alike, readings)), dtype=str)
        self._shapes = _bits([(drug.shape,) for drug in drugs], tuple(words.SHAPES))
        self._colours = _bits([drug.colours for drug in drugs], tuple(words.COLOURS))

    def search(self, query: Query) -> dict[str, list[Drug]]:
        """The drugs that do not contradict the query, by zone, in the register's order."""
        fits = np.ones(len(self.drugs), dtype=bool)
        recorded = fits.copy()
        for asked, known, recorded_bits in (
            (query.shape, words.SHAPES, self._shapes),
            (query.colour, words.COLOURS, self._colours),
        ):
            if asked:
                bit = 1 << list(known).index(asked)
                fits &= (recorded_bits == 0) | (recorded_bits & bit != 0)
                recorded &= recorded_bits != 0
        zones = {"exact": recorded, "no_data": ~recorded}
        if query.imprint:
            zones = self._by_imprint(query.imprint)
        found: dict[str, list[Drug]] = {}
        for name in ZONES:
            inside = zones.get(name, ~fits) & fits
            found[name] = [self.drugs[at] for at in np.flatnonzero(inside).tolist()]
            fits &= ~inside
        return found

    def _by_imprint(self, text: str) -> dict[str, Bools]:
        """Which drugs are in each zone, ignoring the better zones."""
        front, back = self._sides[:, 0], self._sides[:, 1]
        whole = self._readings
        contains = np.strings.find(whole, text) >= 0
        exact, prefix = np.zeros_like(contains), np.zeros_like(contains)
        for at in np.flatnonzero(contains):
            both = str(whole[at]).split("\n")
            exact[at] = text in (*both, front[at], back[at])
            prefix[at] = any(way.startswith(text) for way in both)
        misread = np.zeros_like(contains)
        for way in {spelling.look_alike(text), spelling.turned(text)} - {""}:
            misread |= np.strings.find(self._look_alike, way) >= 0
        blank = self._sides == ""
        within = (np.strings.find(np.array(text), self._sides) >= 0) & ~blank
        return {
            "exact": exact,
            "prefix": prefix,
            "contains": contains,
            "misread": misread,
            "partial": within.any(axis=1) | (blank.sum(axis=1) == 1),
            "no_data": blank.all(axis=1),
        }


def _bits(fields: Sequence[tuple[str, ...]], known: tuple[str, ...]) -> Ints:
    """A bit per known word of each field; 0 where nothing, or an unknown word, is recorded."""
    bit = {word: 1 << at for at, word in enumerate(known)}
    of = (sum(bit[word] for word in {*field}) if bit.keys() >= {*field} else 0 for field in fields)
    return np.array([*of], dtype=np.int64)
