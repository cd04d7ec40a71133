"""Time of a search in a register, and whether a true drug is ever left out.

    python benchmarks/search.py [--drugs 25000] [--queries 2000] [--table DRUGS.json]

Drugs are drawn, or read from a JSON list with mark1, mark2, shape, color (the form of a public
register). Queries are parts of imprints, upside down or with look-alike letters.
"""

import argparse
import json
import random
import statistics
import time
from pathlib import Path

from pillsnap.imprint import spelling
from pillsnap.register import words
from pillsnap.register.search import ZONES, Index, Query
from pillsnap.register.store import Drug


def drawn(count: int, rng: random.Random) -> list[Drug]:
    """Drugs with one or two imprints of up to eight letters."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

    def side() -> str:
        return "".join(rng.choices(letters, k=rng.choice((0, 2, 3, 4, 5, 8))))

    shapes, colours = list(words.SHAPES), list(words.COLOURS)
    return [
        Drug(
            str(at),
            "",
            f"drug {at}",
            (),
            rng.choice(shapes),
            (rng.choice(colours),),
            side(),
            side(),
        )
        for at in range(count)
    ]


def read(path: Path) -> list[Drug]:
    """The drugs of a JSON list; shapes and colours in other languages exclude nothing."""
    return [
        Drug(
            row["id"], "", row["zh"], (), "", tuple(row["color"] or ()),
            row["mark1"] or "", row["mark2"] or "",
        )
        for row in json.loads(path.read_text(encoding="utf-8"))
    ]  # fmt: skip


def query_for(drug: Drug, rng: random.Random) -> Query:
    """What a person may say of a drug."""
    front, back = spelling.plain(drug.print_front), spelling.plain(drug.print_back)
    text = rng.choice((front, back, front + back, back + front))
    if len(text) > 1 and rng.random() < 0.5:
        start = rng.randrange(len(text))
        text = text[start : rng.randint(start + 1, len(text))]
    if rng.random() < 0.3:
        text = rng.choice((spelling.look_alike(text), spelling.turned(text)))
    return Query(text, drug.shape if drug.shape in words.SHAPES and rng.random() < 0.5 else "")


def main() -> None:
    """Print zones, losses and milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drugs", type=int, default=25_000)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    rng = random.Random(0)
    drugs = read(options.table) if options.table else drawn(options.drugs, rng)
    start = time.perf_counter()
    index = Index(drugs)
    print(f"{len(drugs)} drugs, prepared in {time.perf_counter() - start:.2f} s")
    zone_of, milliseconds, lost = dict.fromkeys(ZONES, 0), [], 0
    for _ in range(options.queries):
        drug = rng.choice(drugs)
        query = query_for(drug, rng)
        if query == Query():
            continue
        start = time.perf_counter()
        zones = index.search(query)
        milliseconds.append((time.perf_counter() - start) * 1e3)
        zone = next((name for name, found in zones.items() if drug in found), None)
        lost += zone is None
        if zone:
            zone_of[zone] += 1
    slow = sorted(milliseconds)[int(0.99 * len(milliseconds))]
    print(f"{len(milliseconds)} queries, true drug lost: {lost}; by zone: {zone_of}")
    print(f"median {statistics.median(milliseconds):.1f} ms, 99th percentile {slow:.1f} ms")


if __name__ == "__main__":
    main()
