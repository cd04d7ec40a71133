"""`pillsnap check`: the pills in photos against a prescription.

A pill counts for a drug only if it is accepted with confidence over all classes, not over the
prescribed ones alone: a pill that was swapped for its look-alike must not pass.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pillsnap import files
from pillsnap.errors import DataError
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


@dataclass(frozen=True)
class Found:
    """A pill and the picture it is in."""

    path: str
    pill: Pill


@dataclass
class Verdict:
    """Pills by item of the prescription, and those that belong to none or cannot be decided."""

    items: list[Item]
    counted: list[list[Found]]  # for each item
    extra: list[Found] = field(default_factory=list)
    unsure: list[Found] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # pictures that cannot be read

    def status(self, at: int) -> str:
        """`right`, `extra`, `unsure` or `missing`: the state of an item."""
        item, found = self.items[at], len(self.counted[at])
        if found >= item.count:
            return "right" if found == item.count else "extra"
        return "unsure" if any(_possible(item, each.pill) for each in self.unsure) else "missing"

    @property
    def all_right(self) -> bool:
        """Whether each drug is there as often as prescribed, and nothing else is."""
        left_over = self.extra or self.unsure or self.refused
        return not left_over and all(self.status(at) == "right" for at in range(len(self.items)))


def read(path: Path) -> dict[str, int]:
    """Counts by code of a prescription: a code and a count per line; a heading is skipped."""
    text = files.read_bytes(path, CURE).decode("utf-8-sig", "replace")
    rows = [row for row in csv.reader(io.StringIO(text)) if any(map(str.strip, row))]
    if rows and len(rows[0]) == 2 and not any(map(str.isdigit, "".join(rows[0]))):
        rows = rows[1:]
    counts: dict[str, int] = {}
    for row in rows:
        code, count = (*map(str.strip, row), "", "")[:2]
        if len(row) != 2 or not code or not count.isdecimal() or not 1 <= int(count) <= MOST:
            raise DataError(f"{path}: {','.join(row)[:80]!r} is no code and count.", CURE)
        if code in counts:
            raise DataError(f"{path} names {code} twice.", "Write each drug once, with its count.")
        counts[code] = int(count)
    if not counts:
        raise DataError(f"{path} holds no drug.", CURE)
    return counts


def items_of(counts: Mapping[str, int], classes: pd.DataFrame) -> list[Item]:
    """The items of a prescription by the class table: an EDI code means all K-codes with it."""
    items = []
    for code, count in counts.items():
        by_edi = classes["edi_codes"].str.split("|").map(lambda own, code=code: code in own)
        chosen = classes[by_edi | (classes["mapping_code"] == code)]
        name = " / ".join(chosen["drug_name"])
        items.append(Item(code, count, frozenset(chosen["mapping_code"]), name))
    return items


def compare(items: Sequence[Item], answers: Iterable[Answer]) -> Verdict:
    """Count the pills of all pictures, each for the item with the largest shortage."""
    verdict = Verdict(list(items), [[] for _ in items])
    for answer in answers:
        if answer.error is not None:
            verdict.refused.append(answer.path)
        for pill in answer.pills:
            found = Found(answer.path, pill)
            fitting = [at for at, item in enumerate(verdict.items) if pill.code in item.codes]
            if certainty.of(pill) != "confident":
                verdict.unsure.append(found)
            elif not fitting:
                verdict.extra.append(found)
            else:
                shortage = {at: items[at].count - len(verdict.counted[at]) for at in fitting}
                verdict.counted[max(fitting, key=shortage.__getitem__)].append(found)
    return verdict


def as_json(verdict: Verdict) -> str:
    """The verdict as JSON."""
    drugs = [
        {
            **asdict(item),
            "codes": sorted(item.codes),
            "found": len(found),
            "status": verdict.status(at),
            "pills": [_pill_json(each) for each in found],
        }
        for at, (item, found) in enumerate(zip(verdict.items, verdict.counted, strict=True))
    ]
    tree = {
        "all_right": verdict.all_right,
        "drugs": drugs,
        "extra": [_pill_json(each) for each in verdict.extra],
        "unsure": [_pill_json(each) for each in verdict.unsure],
        "refused": verdict.refused,
    }
    return json.dumps(tree, ensure_ascii=False)


def as_text(verdict: Verdict) -> str:
    """A line per drug, per pill that belongs to none or is unsure, and the verdict."""
    lines = []
    for at, (item, found) in enumerate(zip(verdict.items, verdict.counted, strict=True)):
        name = item.drug_name or "no class of this model"
        counts = f"{len(found)}/{item.count}"
        lines.append(f"{verdict.status(at):8} {counts:>5}  {item.asked}  {name}")
    lines += [f"extra           {_pill_text(each)}" for each in verdict.extra]
    lines += [f"unsure          {_pill_text(each)}" for each in verdict.unsure]
    lines += [f"not read        {path}" for path in verdict.refused]
    return "\n".join([*lines, "all right" if verdict.all_right else "NOT all right"])


def _possible(item: Item, pill: Pill) -> bool:
    """Whether an unsure pill may be the item; a refused one may be any drug without a class."""
    likely = {each.code for each in pill.candidates if each.probability >= POSSIBLE}
    return bool(likely & item.codes) if item.codes else not pill.known


def _pill_json(found: Found) -> dict[str, Any]:
    pill = found.pill
    own = {name: getattr(pill, name) for name in ("box", "known", "code", "confidence")}
    candidates = [[each.code, each.probability] for each in pill.candidates]
    return {"path": found.path, **own, "candidates": candidates}


def _pill_text(found: Found) -> str:
    pill, (x, y, width, height) = found.pill, found.pill.box
    likely = " or ".join(
        f"{each.code} {each.drug_name} {certainty.percent(each.probability)}"
        for each in pill.candidates[:2]
        if each.probability >= POSSIBLE
    )
    nearest = "" if pill.known else "unknown pill, nearest "
    reads = f"  reads {pill.imprint.text}" if pill.imprint and pill.imprint.text else ""
    return f"{found.path} {x},{y} {width}×{height}  {nearest}{likely}{reads}"
