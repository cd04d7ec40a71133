"""How well imprints are read: verdicts on labelled pills against their own and other drugs.

    python benchmarks/imprints.py [--pills 300] [--seed 1]

Takes pills of the chosen scale's val and test frames, cut by the labels' boxes, and reads them.
Prints, by what the drug's record says, how often something was read, and how often that agrees with
the true drug and with another one of the same table. No model is used.
"""

import argparse
import random
import time
from collections import Counter

import pandas as pd

from pillsnap.dataset import manifest, pictures
from pillsnap.evaluation import intervals
from pillsnap.imprint import compare
from pillsnap.imprint.reader import Reader
from pillsnap.params import load
from pillsnap.places import Places
from pillsnap.prediction.imprints import cut
from pillsnap.register import words


def main() -> None:
    """Read, compare, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    params, rng = load(), random.Random(options.seed)
    places, root = Places.of(params), params.data_root()
    classes = manifest.read_classes(places.classes).set_index("mapping_code")
    rows = pd.concat(
        [manifest.read(places.artifacts_dir / f"manifest_{split}.csv") for split in ("val", "test")]
    )
    rows = rows[rows["mapping_code"].isin(classes.index)]
    rows = rows.sample(min(options.pills, len(rows)), random_state=options.seed)
    reader, counts, began_s = Reader(), Counter(), time.perf_counter()
    for row in rows.to_dict("records"):
        frame = pictures.read(root / row["image_path"], params.validate_.max_pixels).pixels
        box = tuple(int(row[f"box_{side}"]) for side in "xywh")
        (reading,) = reader.read([cut(frame, box)])
        own = classes.loc[row["mapping_code"]]
        other = classes.loc[rng.choice([code for code in classes.index if code != own.name])]
        sides = [words.plain(own["print_front"]), words.plain(own["print_back"])]
        kind = f"{sum(map(bool, sides))} sides"
        counts[kind, "pills"] += 1
        counts[kind, "read"] += len(reading.text) >= compare.LEAST_LETTERS
        for whose, drug in (("own", own), ("other", other)):
            said = compare.verdict(reading.text, drug["print_front"], drug["print_back"])
            counts[kind, f"{said} with {whose}"] += 1
    print(f"{(time.perf_counter() - began_s) / len(rows):.2f} s per pill")
    for kind in sorted({kind for kind, _ in counts}):
        total = counts.pop((kind, "pills"))
        print(f"drugs with {kind} of imprint: {total} pills")
        for (_, what), count in sorted(item for item in counts.items() if item[0][0] == kind):
            hits = [1.0] * count + [0.0] * (total - count)
            interval = intervals.ratio(hits, [1.0] * total, list(range(total)))
            print(f"  {what:24} {count / total:.3f} {interval}")


if __name__ == "__main__":
    main()
