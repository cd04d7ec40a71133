"""Imprints read beside the classifier: they make its candidates likelier or less likely, and find
drugs for pills that no class holds."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from pillsnap.arrays import Pixels
from pillsnap.imprint import compare, spelling, weigh
from pillsnap.imprint.reader import Reader, Reading, is_installed
from pillsnap.imprint.weigh import RATIOS, Ratios
from pillsnap.recognition.recogniser import Candidate, Named, Pill, PillImprint
from pillsnap.register import store
from pillsnap.register.search import Index, Query

POSSIBLE = 0.01  # a less likely name leaves the set of names
ZONES = ("exact", "prefix", "contains", "misread")  # of the search
MOST_CANDIDATES = 5
MARGIN_SHARE = 0.05  # of a box, on each side: the ground that the reader tells the pill from


class Imprints:
    """The reader with the class table, and the register for pills that no class holds."""

    def __init__(
        self,
        reader: Reader,
        classes: pd.DataFrame,
        classes_path: Path,
        ratios: Ratios | None = None,
        refuse_contradicted: bool = False,
    ) -> None:
        """`ratios`: of evaluate, None for those of weigh; `refuse_contradicted`: likewise."""
        self._reader, self._ratios = reader, ratios or RATIOS
        self._refuse = refuse_contradicted
        self._classes = {row["mapping_code"]: row for row in classes.to_dict("records")}
        self._index = Index(store.current(classes_path).drugs)

    def added(self, frame: Pixels, pills: Sequence[Pill]) -> list[Pill]:
        """The pills of a frame [h, w, 3] with their imprints, the candidates ranked by both."""
        readings = self._reader.read([cut(frame, pill.box) for pill in pills])
        return [self._judged(*each) for each in zip(pills, readings, strict=True)]

    def _judged(self, pill: Pill, reading: Reading) -> Pill:
        rows = {each.code: self._classes[each.code] for each in pill.candidates}
        verdicts = {
            code: compare.verdict(reading.text, row["print_front"], row["print_back"])
            for code, row in rows.items()
        }
        ranked = weighed(pill.candidates, verdicts, self._ratios)
        first = ranked[0]
        verdict = verdicts[first.code]
        if self._refuse and verdict == "contradicts":
            pill = replace(pill, known=False, code=None, drug_name=None, edi_codes=(), names=())
        found = [] if pill.known and verdict != "contradicts" else self._found(reading.text)
        imprint = PillImprint(reading.text, reading.confidence, verdict, tuple(found))
        pill = replace(pill, imprint=imprint, confidence=first.probability, candidates=ranked)
        if not pill.known:
            return pill
        likely = [each.code for each in ranked if each.probability >= POSSIBLE or each is first]
        names = [code for code in likely if code in pill.names or code == first.code]
        names += [code for code in pill.names if code not in verdicts]  # not compared
        edi_codes = str(rows[first.code]["edi_codes"]).split("|")
        return replace(
            pill, code=first.code, drug_name=first.drug_name, names=tuple(names),
            edi_codes=tuple(filter(None, edi_codes)),
        )  # fmt: skip

    def _found(self, text: str) -> list[Named]:
        """Drugs of the register that fit a text."""
        letters = spelling.plain(text)
        if len(letters) < compare.LEAST_LETTERS:
            return []
        zones = self._index.search(Query(letters))
        drugs = [drug for zone in ZONES for drug in zones[zone]][:MOST_CANDIDATES]
        return [Named(drug.code, drug.item_seq, drug.drug_name) for drug in drugs]


def weighed(
    candidates: Sequence[Candidate], verdicts: Mapping[str, str], ratios: Ratios
) -> tuple[Candidate, ...]:
    """Candidates with the probabilities of `weigh.weighed`, the likeliest first."""
    chances = np.array([[each.probability for each in candidates]])
    given = np.array([[verdicts[each.code] for each in candidates]])
    new = weigh.weighed(chances, given, ratios)[0].tolist()
    pairs = zip(candidates, new, strict=True)
    return tuple(
        sorted((replace(each, probability=p) for each, p in pairs), key=lambda c: -c.probability)
    )


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
