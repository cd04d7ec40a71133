"""Output of `pillsnap predict`: a table for people, JSON and CSV for programs."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TextIO

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from pillsnap import files
from pillsnap.errors import UserError
from pillsnap.recognition import certainty
from pillsnap.recognition.certainty import percent
from pillsnap.recognition.recogniser import Pill

COLUMNS = (
    "path", "pill", "box_x", "box_y", "box_w", "box_h", "known", "code", "drug_name",
    "edi_codes", "confidence", "box_confidence", "candidates", "error", "imprint",
)  # fmt: skip
PIPED_WIDTH = 120  # columns of a table that no terminal gives a width
LEAST_SHOWN = 0.01  # a less likely candidate is left out of the table
STYLES = {"confident": "", "doubtful": "yellow", "unknown": "red"}  # on a terminal


@dataclass(frozen=True)
class Answer:
    """The pills of a picture, or the reason why it was refused."""

    path: str
    pills: list[Pill]
    error: UserError | None
    size: tuple[int, int] | None = None  # width, height of the upright picture; None when refused


def write(form: str, answers: Iterable[Answer], out: TextIO) -> None:
    """Print answers as `table`, `json` or `csv`, one by one."""
    {"table": _table, "json": _json, "csv": _csv}[form](map(_printable, answers), out)


def answer_json(answer: Answer) -> dict[str, Any]:
    """`{path, pills}`, and `error: {fact, cure}` for a refused picture."""
    tree: dict[str, Any] = {"path": answer.path, "pills": [*map(_json_pill, answer.pills)]}
    if answer.error is not None:
        tree["error"] = {"fact": answer.error.fact, "cure": answer.error.cure}
    return tree


def _json_pill(pill: Pill) -> dict[str, Any]:
    """A pill; without `imprint` if imprints are not read."""
    tree = asdict(pill)
    return tree if tree["imprint"] else {k: v for k, v in tree.items() if k != "imprint"}


def _printable(answer: Answer) -> Answer:
    """Bytes of a file name that are not UTF-8 (as in a zip from Windows) become U+FFFD."""
    utf8 = files.utf8
    error = answer.error and UserError(utf8(answer.error.fact), utf8(answer.error.cure))
    return replace(answer, path=utf8(answer.path), error=error)


def _json(answers: Iterable[Answer], out: TextIO) -> None:
    before = "["
    for answer in answers:
        out.write(before + "\n" + json.dumps(answer_json(answer), ensure_ascii=False))
        out.flush()
        before = ","
    out.write("\n]\n" if before == "," else "[]\n")


def _csv(answers: Iterable[Answer], out: TextIO) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for answer in answers:
        rows = [[number, *_csv_pill(pill)] for number, pill in enumerate(answer.pills, 1)]
        empty = [*[""] * (len(COLUMNS) - 3), answer.error.fact if answer.error else "", ""]
        writer.writerows([answer.path, *row] for row in rows or [empty])
        out.flush()


def _csv_pill(pill: Pill) -> list[Any]:
    candidates = "|".join(f"{c.code}:{c.probability:.4f}" for c in pill.candidates)
    text = [pill.code or "", pill.drug_name or "", "|".join(pill.edi_codes)]
    confidences = [f"{share:.4f}" for share in (pill.confidence, pill.box_confidence)]
    imprint = pill.imprint.text if pill.imprint else ""
    return [*pill.box, pill.known, *text, *confidences, candidates, "", imprint]


def _table(answers: Iterable[Answer], out: TextIO) -> None:
    console = Console(file=out, highlight=False, markup=False)
    console.width = console.width if out.isatty() else PIPED_WIDTH
    for answer in answers:
        what = "refused" if answer.error else "" if answer.pills else "no pill found"
        console.print(f"{answer.path}  {what}".rstrip(), soft_wrap=True)
        if answer.pills:
            console.print(_pill_table(answer.pills))


def _pill_table(pills: Sequence[Pill]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    reads = ["imprint"] if any(pill.imprint for pill in pills) else []
    for name in ("", "box x,y w×h", "code", "drug", "EDI", "confidence", *reads, "next"):
        justify: JustifyMethod = "right" if name == "confidence" else "left"
        table.add_column(name, justify=justify, overflow="fold")
    for number, pill in enumerate(pills, start=1):
        x, y, width, height = pill.box
        look, second = certainty.of(pill), certainty.second(pill)
        others = pill.candidates[int(pill.known) :]
        shown = [o for o in others if o is second or o.probability >= LEAST_SHOWN]
        confidence = percent(pill.confidence) if pill.known else ""
        table.add_row(
            f"{number:4}",
            f"{x},{y} {width}×{height}",
            Text(pill.code or "unknown", STYLES[look]),
            Text(pill.drug_name or ""),
            Text(" ".join(pill.edi_codes)),
            Text(f"doubtful {confidence}" if look == "doubtful" else confidence, STYLES[look]),
            *[Text(imprint_text(pill), STYLES[look]) for _ in reads],
            Text("\n".join(f"{o.code} {o.drug_name} {percent(o.probability)}" for o in shown)),
        )
    return table


def imprint_text(pill: Pill) -> str:
    """What the pill reads, whether that agrees with its drug, and the drugs it fits instead."""
    if pill.imprint is None or not pill.imprint.text:
        return ""
    verdict = pill.imprint.verdict
    judged = f" ({verdict})" if pill.known and verdict != "unsure" else ""
    fits = [f"{drug.code or drug.item_seq} {drug.drug_name}" for drug in pill.imprint.candidates]
    return "\n".join([pill.imprint.text + judged, *fits])
