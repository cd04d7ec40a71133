"""How much a second photo of the same pill helps: errors of one photo and of `predict --pair`.

    python benchmarks/pairs.py [--split val] [--imprint]

Pairs are any two labelled pills of one code of the chosen scale's val or test frames, with the
predictions that evaluate kept in pipeline.parquet; the labels do not say which side is seen, so
some pairs show one side twice. Twins are classes with centres whose cosine is over 0.9.
"""

import argparse
import itertools

import pandas as pd
from prescriptions import pools_of, twins_of

from pillsnap.dataset import manifest
from pillsnap.evaluation import intervals
from pillsnap.imprint.reader import Reader
from pillsnap.params import load
from pillsnap.places import Places
from pillsnap.prediction.imprints import Imprints
from pillsnap.prediction.pairs import LEAST
from pillsnap.recognition.recogniser import Pill


def joint(first: Pill, second: Pill) -> str:
    """The code of the largest product of probabilities, as `pairs.of` has it."""
    one, other = ({c.code: c.probability for c in pill.candidates} for pill in (first, second))
    codes = [*one, *other]
    return max(
        codes, key=lambda code: max(one.get(code, 0), LEAST) * max(other.get(code, 0), LEAST)
    )


def main() -> None:
    """Pair, compare, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--imprint", action="store_true")
    options = parser.parse_args()
    params = load()
    places = Places.of(params)
    classes = manifest.read_classes(places.classes)
    imprints = Imprints(Reader(), classes, places.classes) if options.imprint else None
    pools = pools_of(options.split, places, params.data_root(), imprints)
    likeness = twins_of(places, list(classes["mapping_code"]))
    rows = []
    for code, pills in pools.items():
        for first, second in itertools.combinations(pills if code else [], 2):
            alone = [pill.candidates[0].code != code for pill in (first, second)]
            is_twin = likeness[code][1] > 0.9
            rows.append((code, is_twin, sum(alone) / 2, joint(first, second) != code))
    table = pd.DataFrame(rows, columns=["code", "twin", "one", "pair"])
    for name, part in (("all", table), ("twins", table[table["twin"]])):
        for way in ("one", "pair"):
            errors = part[way].astype(float)
            interval = intervals.ratio(errors, [1.0] * len(part), list(part["code"]))
            print(f"{name:6} {len(part)} pairs, errors of {way}: {errors.mean():.4f} ({interval})")


if __name__ == "__main__":
    main()
