"""Verdicts of `pillsnap check` on drawn trays: right, swapped, missing, extra, unknown pill.

    python benchmarks/prescriptions.py [--count 500] [--seed 1]

Trays of 2 to 6 pills are put together from the labelled pills of the chosen scale's val and test
frames, with the predictions that evaluate kept in pipeline.parquet. A swap takes a random pill of
another code. Prints how often "all right" is wrong, and how often a right tray passes.
"""

import argparse
import random
from pathlib import Path

import pandas as pd

from pillsnap.evaluation import intervals
from pillsnap.params import load
from pillsnap.places import Places
from pillsnap.prediction import prescription
from pillsnap.prediction.output import Answer
from pillsnap.prediction.prescription import Item
from pillsnap.recognition.recogniser import Candidate, Pill

KINDS = ("right", "swapped", "missing", "extra", "unknown")


def pill_of(row: dict) -> Pill:
    """A pill as predicted."""
    pairs = zip(row["codes"], row["probabilities"], strict=True)
    candidates = tuple(Candidate(code, "", float(chance)) for code, chance in pairs)
    known = not row["refused"]
    return Pill(
        (0, 0, 1, 1), known, row["code"] if known else None, "", (), float(row["confidence"]),
        float(row["box_confidence"]), candidates, (), float(row["refusal_score"]), 0.0,
    )  # fmt: skip


def tray(kind: str, pools: dict[str, list[dict]], rng: random.Random) -> tuple[list[Item], list]:
    """A prescription and the pills on the tray."""
    codes = rng.sample([code for code in pools if code], rng.randint(2, 6))
    rows = [rng.choice(pools[code]) for code in codes]
    items = [Item(code, 1, frozenset({code}), "") for code in codes]
    others = [code for code in pools if code and code not in codes]
    if kind == "swapped":
        rows[0] = rng.choice(pools[rng.choice(others)])
    elif kind == "missing":
        rows = rows[1:]
    elif kind == "extra":
        rows.append(rng.choice(pools[rng.choice(others)]))
    elif kind == "unknown":
        rows[0] = rng.choice(pools[""])
    return items, [pill_of(row) for row in rows]


def main() -> None:
    """Draw, check, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    places = Places.of(load())
    found = pd.read_parquet(places.artifacts_dir / "pipeline.parquet")
    found = found[found["true_code"].notna() & found["codes"].notna()]
    pools: dict[str, list[dict]] = {
        str(code): rows.to_dict("records") for code, rows in found.groupby("true_code")
    }
    passed = {kind: [] for kind in KINDS}
    for at in range(options.count):
        kind = KINDS[at % len(KINDS)]
        items, pills = tray(kind, pools, rng)
        verdict = prescription.compare(items, [Answer(str(Path("tray")), pills, None)])
        passed[kind].append(float(verdict.all_right))
    wrong = [value for kind in KINDS[1:] for value in passed[kind]]
    for name, values in (("right trays passed", passed["right"]), ("wrong trays passed", wrong)):
        interval = intervals.ratio(values, [1.0] * len(values), list(range(len(values))))
        print(f"{name}: {sum(values):.0f} of {len(values)}, {interval}")
    print({kind: f"{sum(values):.0f} of {len(values)} passed" for kind, values in passed.items()})


if __name__ == "__main__":
    main()
