"""How well imprints are read: errors by kind of imprint, and verdicts against each drug.

    python benchmarks/imprints.py [--split val] [--pills 300] [--seed 1]

Takes pills of the chosen scale's val or test frames, cut by the labels' boxes, and reads them. The
labels do not say which side is seen, so each reading is compared with the recorded side that is
nearest to it. Prints the share of letters that are wrong, missing or too many, and how often a
reading is exact or one letter off, 0/O, 1/I/L/7, 2/Z, 5/S and 8/B counting as equal; then how often
a verdict is given on the own drug and on each other one: their quotient is the ratio that
prediction/imprints.py multiplies by. No classifier is used.
"""

import argparse
import time
from collections import Counter, defaultdict

import numpy as np

from pillsnap.dataset import manifest, pictures
from pillsnap.demo.backdrops import PHONE
from pillsnap.evaluation import intervals
from pillsnap.imprint import compare, spelling
from pillsnap.imprint.reader import Reader
from pillsnap.params import load
from pillsnap.places import Places
from pillsnap.prediction.imprints import cut


def distance(one: str, other: str) -> int:
    """Letters to change, add or remove (Levenshtein)."""
    row = list(range(len(other) + 1))
    for at, letter in enumerate(one, 1):
        before, row[0] = row[0], at
        for to, wanted in enumerate(other, 1):
            before, row[to] = (
                row[to],
                min(row[to] + 1, row[to - 1] + 1, before + (letter != wanted)),
            )
    return row[-1]


def kind_of(side: str) -> str:
    """What the record says of a side."""
    if not spelling.plain(side):
        return "no letters"
    return "logo" if "마크" in side else "score line" if "분할선" in side else "letters alone"


def main() -> None:
    """Read, compare, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--pills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    params = load()
    places, root = Places.of(params), params.data_root()
    classes = manifest.read_classes(places.classes).set_index("mapping_code")
    rows = manifest.read(places.artifacts_dir / f"manifest_{options.split}.csv")
    rows = rows[rows["mapping_code"].isin(classes.index) & (rows["light"] != PHONE)]
    rows = rows.sample(min(options.pills, len(rows)), random_state=options.seed)
    reader, began_s = Reader(), time.perf_counter()
    errors: dict[str, list[tuple[int, int]]] = defaultdict(list)  # letters wrong, letters
    verdicts: dict[str, Counter[str]] = {"own drug": Counter(), "each other drug": Counter()}
    for row in rows.to_dict("records"):
        frame = pictures.read(root / row["image_path"], params.validate_.max_pixels).pixels
        (reading,) = reader.read([cut(frame, tuple(int(row[f"box_{side}"]) for side in "xywh"))])
        read = spelling.look_alike(reading.text)
        own = classes.loc[row["mapping_code"]]
        sides = [own["print_front"], own["print_back"]]
        wrong = [distance(read, spelling.look_alike(spelling.plain(side))) for side in sides]
        nearest = sides[int(np.argmin(wrong))]
        errors[kind_of(nearest)].append((min(wrong), len(spelling.plain(nearest))))
        for code, drug in classes.iterrows():
            whose = "own drug" if code == own.name else "each other drug"
            given = compare.verdict(reading.text, drug["print_front"], drug["print_back"])
            verdicts[whose][given] += 1
    print(f"{(time.perf_counter() - began_s) / len(rows):.2f} s per pill")
    for kind, found in sorted(errors.items()):
        wrong, letters = np.array(found).T
        share = f"{wrong.sum() / letters.sum():.3f}" if letters.any() else "-"
        exact, near = ((wrong <= most).astype(float) for most in (0, 1))
        interval = intervals.ratio(near, np.ones(len(near)), list(range(len(near))))
        print(f"{kind}: {len(found)} sides, letter errors {share}, exact {exact.mean():.3f}, "
              f"exact or one off {near.mean():.3f} ({interval})")  # fmt: skip
    for whose, counts in verdicts.items():
        shares = {name: f"{count / counts.total():.3f}" for name, count in sorted(counts.items())}
        print(f"verdict on {whose}: {shares}")


if __name__ == "__main__":
    main()
