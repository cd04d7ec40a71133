"""`pillsnap check`: the pills in photos against a prescription.

A pill counts for a drug only if its probability over all classes, not over the prescribed ones
alone, is high: a pill that was swapped for its look-alike must not pass. A pill that is refused as
unknown counts only if its imprint spells that of the drug.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from pillsnap import files
from pillsnap.errors import DataError
from pillsnap.imprint import compare as imprints
from pillsnap.prediction.output import Answer
from pillsnap.recognition import certainty
from pillsnap.recognition.recogniser import Pill

POSSIBLE = 0.01  # a candidate below is no reason to hope for a missing drug
ALL_RIGHT, NOT_ALL_RIGHT = 0, 3  # exit codes
CURE = "Give a CSV file with a K-code or EDI code and a count per line: K-000114,2"
MOST = 1_000  # pills of a drug


@dataclass(frozen=True)
class Item:
    """A line of a prescription; `codes` is empty if no class of the model is that drug."""

    asked: str  # the K-code or EDI code as written
    count: int
    codes: frozenset[str]
    drug_name: str
    prints: tuple[tuple[str, str], ...] = ()  # recorded front and back of each code


@dataclass(frozen=True)
class Shown:
    """A pill in the report: its box in pixels of the picture, its candidates with probability."""

    path: str
    box: tuple[int, int, int, int]
    known: bool
    code: str | None
    confidence: float
    candidates: list[tuple[str, float]]


@dataclass(frozen=True)
class DrugResult:
    """A line of the prescription in the report."""

    asked: str
    count: int
    codes: list[str]
    drug_name: str
    found: int
    status: str  # right, missing, unsure or extra
    pills: list[Shown]


@dataclass(frozen=True)
class Report:
    """Pills by line of the prescription, and those that belong to none or cannot be decided."""

    all_right: bool  # each drug is there as often as prescribed, and nothing else is
    drugs: list[DrugResult]
    extra: list[Shown]
    unsure: list[Shown]
    refused: list[str]  # pictures that cannot be read


def read(path: Path) -> dict[str, int]:
    """Counts by code of a prescription: a code and a count per line; a heading is skipped."""
    return parsed(files.read_bytes(path, CURE).decode("utf-8-sig", "replace"), str(path))


def parsed(text: str, name: str) -> dict[str, int]:
    """The same of a prescription's text; DataError names it by `name`."""
    rows = [row for row in csv.reader(io.StringIO(text)) if any(map(str.strip, row))]
    if rows and len(rows[0]) == 2 and not any(map(str.isdigit, "".join(rows[0]))):
        rows = rows[1:]
    counts: dict[str, int] = {}
    for row in rows:
        code, count = (*map(str.strip, row), "", "")[:2]
        if len(row) != 2 or not code or not count.isdecimal() or not 1 <= int(count) <= MOST:
            raise DataError(f"{name}: {','.join(row)[:80]!r} is no code and count.", CURE)
        if code in counts:
            raise DataError(f"{name} names {code} twice.", "Write each drug once, with its count.")
        counts[code] = int(count)
    if not counts:
        raise DataError(f"{name} holds no drug.", CURE)
    return counts


def items_of(counts: Mapping[str, int], classes: pd.DataFrame) -> list[Item]:
    """The items of a prescription by the class table: an EDI code means all K-codes with it."""
    items = []
    for code, count in counts.items():
        by_edi = classes["edi_codes"].str.split("|").map(lambda own, code=code: code in own)
        chosen = classes[by_edi | (classes["mapping_code"] == code)]
        name = " / ".join(chosen["drug_name"])
        prints = tuple(zip(chosen["print_front"], chosen["print_back"], strict=True))
        items.append(Item(code, count, frozenset(chosen["mapping_code"]), name, prints))
    return items


def compare(items: Sequence[Item], answers: Sequence[Answer]) -> Report:
    """Give each pill of all pictures to an item, so that as many items as possible are filled."""
    found = [(answer.path, pill) for answer in answers for pill in answer.pills]
    chances = np.array([[_chance(item, pill) for item in items] for _, pill in found])
    chances = np.where(chances >= certainty.DOUBTFUL_BELOW, chances, 0).reshape(
        len(found), len(items)
    )
    places = [at for at, item in enumerate(items) for _ in range(min(item.count, len(found)))]
    filled = zip(*linear_sum_assignment(chances[:, places], maximize=True), strict=True)
    item_of = {pill: places[place] for pill, place in filled if chances[pill, places[place]]}
    counted: list[list[Shown]] = [[] for _ in items]
    extra, unsure, undecided = list[Shown](), list[Shown](), list[Pill]()
    for at, (path, pill) in enumerate(found):
        if at in item_of or chances[at].any():
            counted[item_of.get(at, int(chances[at].argmax()))].append(_shown(path, pill))
        elif certainty.of(pill) == "confident":
            extra.append(_shown(path, pill))
        else:
            unsure.append(_shown(path, pill))
            undecided.append(pill)
    drugs = [
        DrugResult(
            item.asked, item.count, sorted(item.codes), item.drug_name, len(pills),
            _status(item, len(pills), undecided), pills,
        )
        for item, pills in zip(items, counted, strict=True)
    ]  # fmt: skip
    refused = [answer.path for answer in answers if answer.error is not None]
    left_over = extra or unsure or refused
    all_right = not left_over and all(drug.status == "right" for drug in drugs)
    return Report(all_right, drugs, extra, unsure, refused)


def as_json(report: Report) -> str:
    """The verdict as JSON."""
    return json.dumps(asdict(report), ensure_ascii=False)


def as_text(report: Report, answers: Iterable[Answer]) -> str:
    """A line per drug, per pill that belongs to none or is unsure, and the verdict."""
    pills = {(answer.path, pill.box): pill for answer in answers for pill in answer.pills}
    lines = [
        f"{drug.status:8} {f'{drug.found}/{drug.count}':>5}  {drug.asked}  "
        + (drug.drug_name or "no class of this model")
        for drug in report.drugs
    ]
    for name, left in (("extra", report.extra), ("unsure", report.unsure)):
        lines += [f"{name:15} {_pill_text(one.path, pills[one.path, one.box])}" for one in left]
    lines += [f"not read        {path}" for path in report.refused]
    return "\n".join([*lines, "all right" if report.all_right else "NOT all right"])


def _status(item: Item, found: int, undecided: Iterable[Pill]) -> str:
    if found >= item.count:
        return "right" if found == item.count else "extra"
    return "unsure" if any(_possible(item, pill) for pill in undecided) else "missing"


def _chance(item: Item, pill: Pill) -> float:
    """Probability that a pill is the item; 0 if its imprint contradicts, or if it was refused and
    its imprint does not spell that of the item."""
    read = pill.imprint
    if read is not None and read.verdict == "contradicts":
        return 0.0
    if not pill.known and not (read and any(imprints.spells(read.text, *p) for p in item.prints)):
        return 0.0
    return sum(each.probability for each in pill.candidates if each.code in item.codes)


def _possible(item: Item, pill: Pill) -> bool:
    """Whether an unsure pill may be the item; a refused one may be any drug without a class."""
    likely = {each.code for each in pill.candidates if each.probability >= POSSIBLE}
    return bool(likely & item.codes) if item.codes else not pill.known


def _shown(path: str, pill: Pill) -> Shown:
    candidates = [(each.code, each.probability) for each in pill.candidates]
    return Shown(path, pill.box, pill.known, pill.code, pill.confidence, candidates)


def _pill_text(path: str, pill: Pill) -> str:
    x, y, width, height = pill.box
    likely = " or ".join(
        f"{each.code} {each.drug_name} {certainty.percent(each.probability)}"
        for each in pill.candidates[:2]
        if each.probability >= POSSIBLE
    )
    nearest = "" if pill.known else "unknown pill, nearest "
    reads = f"  reads {pill.imprint.text}" if pill.imprint and pill.imprint.text else ""
    return f"{path} {x},{y} {width}×{height}  {nearest}{likely}{reads}"
