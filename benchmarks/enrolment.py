"""Top-1 of drugs enrolled from a few photos, and the cost for the trained classes.

    python benchmarks/enrolment.py [--photos 1 3 5 10] [--drawings 10]

The unknown codes of the chosen scale's test part, as `dvc repro` left them: of each, some photos
drawn at random are enrolled, the others are classified (labelled crops, top-1, refused or not).
Once with every code, as with --twin, once without those that `pillsnap enroll` refuses as twins.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pillsnap.arrays import Floats32, Pixels
from pillsnap.dataset.crops import CropStore
from pillsnap.demo.backdrops import PHONE
from pillsnap.params import load
from pillsnap.places import Places
from pillsnap.prediction import enrolment
from pillsnap.prediction import gallery as galleries
from pillsnap.prediction import load as loading
from pillsnap.prediction.enrolment import GalleryClassifier
from pillsnap.prediction.gallery import EnrolledPhoto, Entry, Gallery
from pillsnap.recognition.recogniser import Recogniser


@dataclass(frozen=True)
class Pills:
    """Crops of a split with their codes, and the outputs of the classifier for them."""

    codes: NDArray[Any]
    known: NDArray[np.bool_]
    answer: tuple[Floats32, Floats32]  # logits, embeddings
    turned: Floats32  # embeddings as `pillsnap enroll` stores them, [n, ANGLES, d]
    config: dict[str, Any]

    def classify(self, crops: Pixels) -> tuple[Floats32, Floats32]:
        """As a classifier: the outputs, whatever the crops."""
        return self.answer


def pills_of(recogniser: Recogniser, places: Places, split: str) -> Pills:
    """A split through the classifier."""
    store = CropStore(places.data_dir / "crops" / f"{split}.arrow")
    table = store.table[store.table["light"] != PHONE]
    crops = np.stack([store.decode(row) for row in table.index])
    answer = recogniser.classify(crops)
    turned = np.stack([enrolment.turned_of(recogniser, crop) for crop in crops])
    codes, known = table["mapping_code"].to_numpy(str), table["known"].to_numpy(bool)
    return Pills(codes, known, answer, turned, dict(recogniser.classifier.config))


def top1(recogniser: Recogniser, gallery: Gallery, pills: Pills) -> NDArray[Any]:
    """The likeliest code of each pill among the trained classes and the gallery."""
    logits = pills.answer[0]
    if gallery.entries:
        logits, _ = GalleryClassifier(pills, gallery, recogniser.calibration).classify(np.empty(0))
    return np.array([*recogniser.classes["mapping_code"], *gallery.codes])[logits.argmax(axis=1)]


def drawn(test: Pills, photos: int, seed: int) -> dict[str, NDArray[np.int64]]:
    """So many rows of each unknown code."""
    order = np.random.default_rng(seed).permutation(len(test.codes))
    unknown = sorted(set(test.codes[~test.known]))
    return {code: order[test.codes[order] == code][:photos] for code in unknown}


def enrolled(
    recogniser: Recogniser, test: Pills, rows: dict[str, NDArray[np.int64]], twins: bool
) -> Gallery:
    """A gallery of the rows; twins of trained or enrolled drugs only where they are wanted."""
    gallery, trained = Gallery("", 0, ()), list(recogniser.classes["mapping_code"])
    for code, chosen in rows.items():
        photos = [EnrolledPhoto(str(row), f"{row:064d}", test.turned[row]) for row in chosen]
        entry = Entry(code, code, (), tuple(photos))
        others = recogniser.calibration.centres
        if gallery.entries:
            others = others.joined(gallery.means)
        if twins or galleries.twin_of(entry, others, [*trained, *gallery.codes]) is None:
            gallery = galleries.with_photos(gallery, entry)
    return gallery


def metrics(
    recogniser: Recogniser, test: Pills, val: Pills, photos: int, seed: int, twins: bool
) -> dict[str, float]:
    """Of one drawing: codes enrolled, top-1 of their other photos, change of val's known pills."""
    rows = drawn(test, photos, seed)
    gallery = enrolled(recogniser, test, rows, twins)
    asked = np.isin(test.codes, gallery.codes) & ~test.known
    asked[np.concatenate(list(rows.values()))] = False
    new = top1(recogniser, gallery, test) == test.codes
    nothing = Gallery("", 0, ())
    before, after = (
        top1(recogniser, held, val)[val.known] == val.codes[val.known]
        for held in (nothing, gallery)
    )
    found = float(new[asked].mean()) if asked.any() else float("nan")
    return {"codes": len(gallery.codes), "new": found, "old": 100 * (after.mean() - before.mean())}


def report(recogniser: Recogniser, places: Places, photos: Sequence[int], drawings: int) -> None:
    """Print the table."""
    test, val = (pills_of(recogniser, places, split) for split in ("test", "val"))
    print("| photos | twins too: top-1 new | old, points | twins refused: codes | new | old |")
    print("|---|---|---|---|---|---|")
    for count in photos:
        means = [
            pd.DataFrame(
                metrics(recogniser, test, val, count, seed, twins) for seed in range(drawings)
            ).mean()
            for twins in (True, False)
        ]
        every, apart = means
        print(
            f"| {count} | {every['new']:.2f} | {every['old']:+.1f} "
            f"| {apart['codes']:.1f} | {apart['new']:.2f} | {apart['old']:+.1f} |"
        )


def main() -> None:
    """Measure the project in this folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, nargs="+", default=[1, 3, 5, 10])
    parser.add_argument("--drawings", type=int, default=10)
    asked = parser.parse_args()
    recogniser = loading.load("torch", None, "cpu", enrolled=False).recogniser
    report(recogniser, Places.of(load()), asked.photos, asked.drawings)


if __name__ == "__main__":
    main()
