"""How much does a split by photo flatter? The same classifier on the same crops, twice: val as the
pipeline holds it out (whole capture groups), and as many crops drawn at random.

    python benchmarks/split_flattery.py [--epochs 18] [--crops 0]

Trains with the chosen scale's recipe, twice; 0 crops: all. Nothing outside a temporary folder is
written. Near copies: val crops within validate.near_duplicate_distance bits of a train crop of
their code.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from one_training import train_once

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from make.crop_files import write_store
from pillsnap.dataset import pixels
from pillsnap.dataset.crops import CropStore
from pillsnap.dataset.findings import Findings
from pillsnap.params import Params, load
from pillsnap.places import Places
from pillsnap.validation import split_checks


def pooled(places: Places, most: int, seed: int) -> tuple[pd.DataFrame, list[bytes]]:
    """Known crops of train and val, `most` of them (0: all), with their split and JPEG bytes."""
    parts, jpegs = [], []
    for split in ("train", "val"):
        store = CropStore(places.data_dir / "crops" / f"{split}.arrow")
        rows = np.flatnonzero(store.table["known"].to_numpy(dtype=bool))
        parts.append(store.table.iloc[rows].assign(split=split))
        jpegs += [bytes(store.jpeg(int(row))) for row in rows]
    table = pd.concat(parts, ignore_index=True)
    chosen = np.arange(len(table))
    if 0 < most < len(table):
        chosen = np.sort(np.random.default_rng(seed).permutation(len(table))[:most])
    return table.iloc[chosen].reset_index(drop=True), [jpegs[row] for row in chosen]


def near_copies(table: pd.DataFrame, jpegs: list[bytes], distance: int) -> float:
    """Share of val's crops with a near copy in train."""
    hashes = [pixels.perceptual_hash(pixels.decode(jpeg)) for jpeg in jpegs]
    pills = table.assign(perceptual_hash=np.array(hashes, dtype=np.uint64))
    found = split_checks.check_near_duplicates(pills, distance, Findings())
    return len(found) / max(int((table["split"] == "val").sum()), 1)


def top1(
    params: Params, table: pd.DataFrame, jpegs: list[bytes], epochs: int, folder: Path
) -> float:
    """Best top-1 on the table's val after training on its train."""
    for split in ("train", "val"):
        rows = np.flatnonzero(table["split"] == split)
        part = [jpegs[row] for row in rows]
        write_store(folder / "crops" / f"{split}.arrow", table.iloc[rows], part)
    return train_once(params, folder / "crops", epochs, folder).metrics["top1"]


def main() -> None:
    """Print top-1 and near copies of both splits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--crops", type=int, default=0)
    options = parser.parse_args()
    params = load()
    table, jpegs = pooled(Places.of(params), options.crops, params.seed)
    held = int((table["split"] == "val").sum())
    drawn = np.random.default_rng(params.seed).permutation(len(table)) < held
    splits = {"grouped": table, "random": table.assign(split=np.where(drawn, "val", "train"))}
    found = {}
    print(
        f"{len(table)} crops, {held} of them in val, {options.epochs} epochs, scale {params.scale}"
    )
    for name, split in splits.items():
        near = near_copies(split, jpegs, params.validate_.near_duplicate_distance)
        with tempfile.TemporaryDirectory() as folder:
            found[name] = top1(params, split, jpegs, options.epochs, Path(folder))
        print(f"{name:8} top-1 {found[name]:.4f}, near copies {near:.3f} of val", flush=True)
    print(f"a random split flatters by {found['random'] - found['grouped']:+.4f}")


if __name__ == "__main__":
    main()
