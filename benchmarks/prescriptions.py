"""Verdicts of `pillsnap check` on drawn trays: right, swapped, missing, extra, unknown pill.

    python benchmarks/prescriptions.py [--split test] [--count 3000] [--seed 1] [--imprint]

Trays of 2 to 6 pills are put together from the labelled pills of the chosen scale's val or test
frames, with the predictions that evaluate kept in pipeline.parquet; unknown pills are those of
test. A swap takes a pill of the twin, the class with the most similar centre. A look-alike
is an unknown pill on the tray instead of the drug that the classifier takes it for: the worst case,
which the sum of the wrong trays does not include. With --imprint the pills are read too. Prints how
often "all right" is said by limit of the probability (0.9 is what `check` uses).
"""

import argparse
import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd

from pillsnap import files
from pillsnap.dataset import manifest, pictures
from pillsnap.demo.backdrops import PHONE
from pillsnap.evaluation import intervals
from pillsnap.imprint.reader import Reader
from pillsnap.params import load
from pillsnap.places import Places
from pillsnap.prediction import prescription
from pillsnap.prediction.imprints import Imprints
from pillsnap.prediction.output import Answer
from pillsnap.recognition import calibration, certainty
from pillsnap.recognition.recogniser import Candidate, Pill

KINDS = ("right", "swapped", "missing", "extra", "unknown", "look-alike")
LIMITS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
Pools = dict[str, list[Pill]]  # pills by code; "" of unknown ones


def pill_of(row: dict) -> Pill:
    """A pill as predicted."""
    pairs = zip(row["codes"], row["probabilities"], strict=True)
    candidates = tuple(Candidate(code, "", float(chance)) for code, chance in pairs)
    known, code = not row["refused"], candidates[0].code
    x1, y1, x2, y2 = (int(side) for side in row["box"])
    return Pill(
        (x1, y1, x2 - x1, y2 - y1), known, code if known else None, "", (),
        float(row["confidence"]), float(row["box_confidence"]), candidates, (code,),
        float(row["refusal_score"]), 0.0,
    )  # fmt: skip


def pools_of(split: str, places: Places, root: Path, imprints: Imprints | None) -> Pools:
    """The pills of a split by true code, and all unknown ones."""
    found = pd.read_parquet(places.artifacts_dir / "pipeline.parquet")
    found = found[found["true_code"].notna() & found["codes"].notna()]
    found = found[(found["split"] == split) | (found["true_code"] == "")]
    rows = manifest.read(places.artifacts_dir / "manifest_test.csv")
    found = found[~found["image_path"].isin(rows["image_path"][rows["light"] == PHONE])]
    pools: Pools = defaultdict(list)
    for path, rows in found.groupby("image_path"):
        pills = [pill_of(row) for row in rows.to_dict("records")]
        if imprints is not None:
            pills = imprints.added(pictures.read(root / path, 10**9).pixels, pills)
        for code, pill in zip(rows["true_code"], pills, strict=True):
            pools[code].append(pill)
    return pools


def twins_of(places: Places, codes: list[str]) -> dict[str, tuple[str, float]]:
    """The most similar class of each, and the cosine of their most similar centres."""
    sha256 = files.sha256_of(places.checkpoint("classification"))
    means = calibration.load(places.calibration, sha256).centres.means  # [classes, sides, d]
    likeness = np.einsum("asd,btd->abst", means, means).max(axis=(2, 3))  # of the likest sides
    np.fill_diagonal(likeness, -1)
    nearest = likeness.argmax(axis=1)
    return {
        code: (codes[at], float(row[at]))
        for code, at, row in zip(codes, nearest, likeness, strict=True)
    }


def tray(
    kind: str, pools: Pools, twins: dict[str, str], rng: random.Random
) -> tuple[list[str], list[Pill]]:
    """The codes of a prescription and the pills on the tray."""
    known = [code for code in pools if code]
    codes = rng.sample(known, min(len(known), rng.randint(2, 6)))
    first = None
    if kind == "swapped":
        swapped = rng.choice([code for code in known if twins[code] in pools])
        codes, first = [swapped, *codes[1:]], rng.choice(pools[twins[swapped]])
    elif kind == "unknown":
        first = rng.choice(pools[""])
    elif kind == "look-alike":
        first = rng.choice(pools[""])
        codes = [first.candidates[0].code, *codes[1:]]
    codes = list(dict.fromkeys(codes))
    pills = [rng.choice(pools[code]) if code in pools else None for code in codes]
    if first is not None:
        pills[0] = first
    elif kind == "missing":
        pills = pills[1:]
    elif kind == "extra":
        pills.append(rng.choice(pools[rng.choice([code for code in known if code not in codes])]))
    return codes, pills


def main() -> None:
    """Draw, check, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--imprint", action="store_true")
    options = parser.parse_args()
    params, rng = load(), random.Random(options.seed)
    places, classes = Places.of(params), manifest.read_classes(Places.of(params).classes)
    imprints = Imprints(Reader(), classes, places.classes) if options.imprint else None
    pools = pools_of(options.split, places, params.data_root(), imprints)
    rows = classes.set_index("mapping_code")
    twins = {code: twin for code, (twin, _) in twins_of(places, list(rows.index)).items()}
    item_of = dict(
        zip(rows.index, prescription.items_of(dict.fromkeys(rows.index, 1), classes), strict=True)
    )
    trays = [(kind, *tray(kind, pools, twins, rng)) for kind in KINDS * (options.count // 6)]
    for limit in LIMITS:
        certainty.DOUBTFUL_BELOW = limit
        passed: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for kind, codes, pills in trays:
            items = [item_of[code] for code in codes]
            verdict = prescription.compare(items, [Answer("tray", pills, None)])
            passed[kind].append(float(verdict.all_right))
        wrong = [value for kind in KINDS[1:5] for value in passed[kind]]
        print(f"limit {limit}:")
        for name, values in {"all wrong": wrong, **passed}.items():
            interval = intervals.ratio(values, [1.0] * len(values), list(range(len(values))))
            print(f"  {name:12} {sum(values):.0f} of {len(values)} passed, {interval}")


if __name__ == "__main__":
    main()
