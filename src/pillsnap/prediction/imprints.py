"""Imprints read beside the classifier: what agrees, what contradicts, and drugs that fit."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from pillsnap.arrays import Pixels
from pillsnap.imprint import compare
from pillsnap.imprint.reader import Reader, is_installed
from pillsnap.recognition.recogniser import Named, Pill, PillImprint
from pillsnap.register import store, words
from pillsnap.register.search import Index, Query

ZONES = ("exact", "prefix", "contains", "misread")  # of the search
MOST_CANDIDATES = 5
MARGIN_SHARE = 0.05  # of a box, on each side: the ground that the reader tells the pill from


class Imprints:
    """The reader with the class table, and the register for pills that no class holds."""

    def __init__(self, reader: Reader, classes: pd.DataFrame, classes_path: Path) -> None:
        self._reader = reader
        self._prints = {
            row["mapping_code"]: (row["print_front"], row["print_back"])
            for row in classes.to_dict("records")
        }
        self._index = Index(store.current(classes_path).drugs)

    def added(self, frame: Pixels, pills: Sequence[Pill]) -> list[Pill]:
        """The pills of a frame [h, w, 3] with their imprints."""
        readings = self._reader.read([cut(frame, pill.box) for pill in pills])
        return [
            replace(pill, imprint=self._judged(pill, reading.text, reading.confidence))
            for pill, reading in zip(pills, readings, strict=True)
        ]

    def _judged(self, pill: Pill, text: str, confidence: float) -> PillImprint:
        first = pill.candidates[0].code
        verdict = compare.verdict(text, *self._prints.get(first, ("", "")))
        letters = words.plain(text)
        if (pill.known and verdict != "contradicts") or len(letters) < compare.LEAST_LETTERS:
            return PillImprint(text, confidence, verdict, ())
        found = self._index.search(Query(letters))
        drugs = [drug for zone in ZONES for drug in found[zone]][:MOST_CANDIDATES]
        named = (Named(drug.code, drug.item_seq, drug.drug_name) for drug in drugs)
        return PillImprint(text, confidence, verdict, tuple(named))


def open_reader(wanted: bool | None) -> Reader | None:
    """The reader; None if it is not wanted, or not installed and nobody asked for it."""
    if not wanted and (wanted is not None or not is_installed()):
        return None
    return Reader()


def cut(frame: Pixels, box: tuple[int, int, int, int]) -> Pixels:
    """A pill's crop for the reader: box x, y, width, height of a frame [h, w, 3], and a margin."""
    x, y, width, height = box
    more_x, more_y = round(width * MARGIN_SHARE), round(height * MARGIN_SHARE)
    top, left = max(0, y - more_y), max(0, x - more_x)
    return frame[top : y + height + more_y, left : x + width + more_x]
