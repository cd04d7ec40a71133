"""`pillsnap search` and `pillsnap register import`: what they print."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path

from pillsnap.errors import DataError
from pillsnap.register import sources, store
from pillsnap.register.search import ZONES, Index, Query
from pillsnap.register.store import Drug, Register

SHOWN = 20  # drugs of a zone in the text
UNCERTAIN = ("partial", "no_data")  # counted only, if a better zone has a drug


def search(register: Register, query: Query, as_json: bool, show_all: bool) -> str:
    """The drugs by zone as text, or as JSON with the query as understood and the register's dates;
    DataError for a query without any word."""
    if query == Query():
        raise DataError(
            "The query has no letter, digit, shape or colour.",
            "Give one, for example: pillsnap search --imprint HM --colour white",
        )
    zones = Index(register.drugs).search(query)
    if not as_json:
        return _text(register, zones, show_all)
    tree = {
        "query": asdict(query),
        "register": {"version": register.version, "checked": register.checked},
        "zones": {name: [asdict(drug) for drug in drugs] for name, drugs in zones.items()},
    }
    return json.dumps(tree, ensure_ascii=False)


def import_table(path: Path, classes_path: Path, any_size: bool) -> str:
    """Import the ministry's table; K-codes are those of the scale's classes, else of the last
    register."""
    old = store.last()
    known = [*old.drugs] if old else []
    known += store.of_classes(classes_path).drugs if classes_path.exists() else ()
    codes = {drug.item_seq: drug.code for drug in known if drug.code}
    new = store.replace(sources.of_table(path, codes, date.today()), any_size)
    coded = sum(bool(drug.code) for drug in new.drugs)
    return (
        f"{store.PATH}: {len(new.drugs)} drugs, {coded} with a K-code, version {new.version}, "
        f"checked {new.checked}. Commit it: git add {store.PATH}"
    )


def _text(register: Register, zones: Mapping[str, list[Drug]], show_all: bool) -> str:
    lines = []
    better = any(drugs for name, drugs in zones.items() if name not in UNCERTAIN)
    for name, drugs in zones.items():
        if not drugs:
            continue
        lines.append(f"{name}: {len(drugs)} ({ZONES[name]})")
        shown = 0 if better and name in UNCERTAIN else SHOWN
        lines += [_line(drug) for drug in (drugs if show_all else drugs[:shown])]
        if shown < len(drugs) and not show_all:
            lines.append(f"  {len(drugs) - shown} more: --all")
    if not lines:
        lines = [f"None: all {len(register.drugs)} drugs of the register contradict the query."]
    return "\n".join(
        [*lines, f"register {register.source}: version {register.version}, "
         f"checked {register.checked}, {len(register.drugs)} drugs"]
    )  # fmt: skip


def _line(drug: Drug) -> str:
    look = " ".join(part for part in (drug.shape, "/".join(drug.colours)) if part) or "-"
    sides = " | ".join(side or "-" for side in (drug.print_front, drug.print_back))
    return f"  {drug.code or drug.item_seq}  {drug.drug_name}  [{sides}]  {look}"
