"""How many spoilt labels `pillsnap review` shows, and whether right answers restore the manifests.

    PYTHONPATH=src python benchmarks/review.py COPY [--spoilt 200] [--count 400] [--train]

COPY: a copy of this repository after `pillsnap demo`; it is changed. A third of the spoilt labels
is deleted (of combination photos: a photo without any label is no part of a data set), a third gets
the code of another class, a third of the boxes is shifted. With --train the classifier is trained
on the spoilt labels; without it both models are the demo's. The detector is always the demo's. The
codes in the photos' file names are not used as evidence.
"""

import argparse
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from pillsnap import boxes
from pillsnap.dataset import manifest
from pillsnap.manifest import corrections
from pillsnap.manifest.corrections import BOX, Correction
from pillsnap.params import Params
from pillsnap.params import load as load_params
from pillsnap.places import Places
from pillsnap.prediction import load
from pillsnap.review import command
from pillsnap.review.photos import Photos
from pillsnap.review.suspects import Suspect
from pillsnap.stage.log import Bar

SHIFTS = (-0.6, 0.6)  # of the box's sides
MATCH_IOU = 0.5  # of a found box with a deleted label
MOST_OVERLAP = 0.4  # IoU of a shifted box with the right one
PATHS = [f"manifest_{split}.csv" for split in manifest.SPLITS]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("copy", type=Path)
    parser.add_argument("--spoilt", type=int, default=200)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", action="store_true")
    options = parser.parse_args()
    os.chdir(options.copy)
    params = load_params()
    places, path = Places.of(params), corrections.path_of(params.scale)
    path.unlink(missing_ok=True)
    stage("build_manifest")
    right = [(places.artifacts_dir / name).read_bytes() for name in PATHS]
    rows = pd.concat([manifest.read(places.artifacts_dir / name) for name in PATHS[:2]])
    spoils = spoilt(rows, options.spoilt, options.seed)
    corrections.write(path, spoils)
    classes = places.classes.read_bytes()
    stage("build_manifest", "validate")
    if options.train:
        stage("train_classification", "evaluate")
    else:  # the class table differs in the numbers of pills only
        places.classes.write_bytes(classes)
    path.unlink()  # the spoilt labels count as the data set's own
    show(spoils, places, params, options.count)
    corrections.write(path, [*spoils, *map(answer, spoils)])
    stage("build_manifest")
    compare(right, places)


def show(spoils: list[Correction], places: Places, params: Params, count: int) -> None:
    """The share of each kind of spoilt labels among the first suspects."""
    recogniser = load.load("torch", None, "auto", enrolled=False).recogniser
    photos = Photos(places, params.data_root(), params.validate_.max_pixels)
    found, sheet = command.find(recogniser, places, photos, params, Bar("review"))
    print(f"{len(found)} suspects, {len(spoils)} spoilt labels")
    print(f"| spoilt labels | in all | among the first 200 | among the first {count} |")
    print("|---|---|---|---|")
    for action in ("delete", "recode", "move"):
        of_kind = [spoil for spoil in spoils if spoil.action == action]
        shares = [
            sum(any(shows(one, spoil) for one in found[:most]) for spoil in of_kind) / len(of_kind)
            for most in (200, count)
        ]
        print(f"| {action} | {len(of_kind)} | {shares[0]:.3f} | {shares[1]:.3f} |")
    html = sheet.render(found[:count], len(found), lambda done, total: None)
    print(f"sheet: {len(html) / 1e6:.1f} MB")


def shows(suspect: Suspect, spoil: Correction) -> bool:
    """Whether a suspect is this spoilt label, or the pill whose label was deleted."""
    if suspect.image_path != spoil.image_path:
        return False
    if spoil.action == "delete":
        pair = boxes.from_xywh(np.array([suspect.box, spoil.box]))
        return not suspect.code and bool(boxes.iou(pair[:1], pair[1:])[0, 0] >= MATCH_IOU)
    code = spoil.new_code or spoil.mapping_code
    return (suspect.code, suspect.box) == (code, spoil.box)


def stage(*names: str) -> None:
    for name in names:
        subprocess.run([sys.executable, f"src/{name}.py"], check=True, stdout=subprocess.DEVNULL)


def spoilt(rows: pd.DataFrame, count: int, seed: int) -> list[Correction]:
    """A row per label to spoil: at most one in a photo."""
    random = np.random.default_rng(seed)
    classes = sorted(set(rows.loc[rows["known"], "mapping_code"]))
    rows = rows.sample(frac=1, random_state=seed).drop_duplicates("image_path")
    third = -(-count // 3)
    deleted = rows[rows["image_type"] == "combination"][:third]
    others = rows[rows["known"] & ~rows["image_path"].isin(deleted["image_path"])]
    found = [correction(row, "delete") for row in deleted.to_dict("records")]
    for row in others[:third].to_dict("records"):
        other = random.choice([code for code in classes if code != row["mapping_code"]])
        found.append(correction(row, "recode", str(other)))
    for row in others[third:].to_dict("records"):
        box = shifted(row, random)
        if box is not None and len(found) < count:
            found.append(correction(row, "move")._replace(box=box, note=note(row)))
    return found


def correction(row: dict, action: str, new_code: str = "") -> Correction:
    box = tuple(row[name] for name in BOX)
    return Correction(row["image_path"], row["mapping_code"], action, new_code, box, note(row))


def note(row: dict) -> str:
    """The right label."""
    return " ".join([row["mapping_code"], *(str(row[name]) for name in BOX)])


def shifted(row: dict, random: np.random.Generator) -> tuple[int, ...] | None:
    """The box moved inside the photo; None where there is no room."""
    x, y, width, height = (row[name] for name in BOX)
    limit = np.array([row["image_width"] - width, row["image_height"] - height])
    ways = list(product(SHIFTS, SHIFTS))
    for at in random.permutation(len(ways)):
        corner = np.clip(
            np.rint(np.array([x, y]) + np.multiply(ways[at], [width, height])), 0, limit
        )
        box = (*corner.astype(int).tolist(), width, height)
        pair = boxes.from_xywh(np.array([box, (x, y, width, height)]))
        if boxes.iou(pair[:1], pair[1:])[0, 0] < MOST_OVERLAP:
            return box
    return None


def answer(spoil: Correction) -> Correction:
    """What a person who sees the photo corrects."""
    code, *sides = spoil.note.split()
    box = tuple(map(int, sides))
    if spoil.action == "delete":
        return spoil._replace(action="add", mapping_code="", new_code=code, box=box)
    if spoil.action == "recode":
        return spoil._replace(mapping_code=spoil.new_code, new_code=code)
    return spoil._replace(box=box)


def compare(right: list[bytes], places: Places) -> None:
    """Which columns of the manifests differ from the unspoilt ones, in how many rows."""
    for name, before in zip(PATHS, right, strict=True):
        path = places.artifacts_dir / name
        if path.read_bytes() == before:
            print(f"{name}: identical")
            continue
        after = manifest.read(path)
        path.write_bytes(before)
        was = manifest.read(path)
        key = ["image_path", "mapping_code", *BOX]
        assert after[key].equals(was[key]), name
        differing = {column: int((after[column] != was[column]).sum()) for column in after}
        print(f"{name}: identical but { ({k: n for k, n in differing.items() if n}) }")


if __name__ == "__main__":
    main()
