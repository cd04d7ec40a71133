"""Checks of the splits: leakage, duplicates, classes in each, counts against params.yaml."""

import numpy as np
import pandas as pd

from pillsnap.arrays import Hashes, Ints
from pillsnap.dataset.findings import Findings
from pillsnap.dataset.manifest import UNGROUPED
from pillsnap.params import ScaleParams

Pair = tuple[int, int, int]  # bits that differ, row of a val or test pill, row of a train pill

SAMPLES_TOLERANCE = 0.01  # part of the samples: a combination photo adds several pills at once
SHARE_TOLERANCE = 0.01  # capture groups are never split
SHARE_TOLERANCE_PILLS = 4  # of few samples: those of one combination photo


def check_classes(rows: pd.DataFrame, classes: pd.DataFrame, findings: Findings) -> None:
    """Known rows carry the index classes.csv gives their code, unknown ones none of its codes."""
    index_of = classes.set_index("mapping_code")["class_index"]
    expected = rows["mapping_code"].map(index_of).fillna(-1).astype("int64")
    wrong = rows[rows["class_index"] != expected]
    for path, code, found in zip(
        wrong["image_path"], wrong["mapping_code"], wrong["class_index"], strict=True
    ):
        findings.add("class_index", f"{path}: {code} has class_index {found}")


def check_groups(rows: pd.DataFrame, findings: Findings) -> None:
    """A capture group in both train and val makes the metrics of val optimistic."""
    groups = {split: set(part["group_id"]) for split, part in rows.groupby("split")}
    both = groups.get("train", set()) & groups.get("val", set())
    first = rows.drop_duplicates(["split", "group_id"]).set_index(["split", "group_id"])
    for group in sorted(both):
        paths = [first.loc[(split, group), "image_path"] for split in ("train", "val")]
        findings.add("group_leakage", f"{group}: {paths[0]} and {paths[1]}")


def check_groups_known(rows: pd.DataFrame, findings: Findings) -> None:
    """Photos that build_manifest could not group."""
    single = rows.loc[rows["group_id"].str.startswith(UNGROUPED), "image_path"]
    findings.add_all("groups_unknown", single.unique())


def check_unknown(rows: pd.DataFrame, findings: Findings) -> None:
    """Codes whose test photos count as unknown must not be in train."""
    trained = set(rows.loc[rows["known"] & (rows["split"] == "train"), "mapping_code"])
    unknown = rows[(rows["split"] == "test") & ~rows["known"]].drop_duplicates("mapping_code")
    for code, path in zip(unknown["mapping_code"], unknown["image_path"], strict=True):
        if code in trained:
            findings.add("unknown_overlap", f"{code}: {path} is tested as unknown")


def check_counts(
    rows: pd.DataFrame,
    classes: pd.DataFrame,
    wanted: ScaleParams,
    findings: Findings,
    corrected: int = 0,
) -> None:
    """Samples, classes, shares and minimum counts of the manifests against the parameters.

    `corrected`: pills added or deleted since the photos were chosen; each may move a count by one.
    """
    drawn = rows[rows["split"] != "test"]
    if abs(len(drawn) - wanted.samples) > SAMPLES_TOLERANCE * wanted.samples + corrected:
        findings.add("sample_count", f"train + val: {len(drawn)}, samples is {wanted.samples}")
    if len(classes) != wanted.classes:
        findings.add("class_count", f"classes.csv: {len(classes)}, classes is {wanted.classes}")
    slack = max(SHARE_TOLERANCE, SHARE_TOLERANCE_PILLS / max(1, len(drawn)))
    slack += corrected / max(1, len(drawn))
    for name, part, target in (
        ("combination_share", drawn["image_type"] == "combination", wanted.combination_share),
        ("val_share", drawn["split"] == "val", wanted.val_share),
    ):
        share = float(part.mean()) if len(drawn) else 0.0
        if abs(share - target) > slack:
            findings.add(name, f"train + val: {share:.4f}, {name} is {target}")
    for code, split, count, least in _classes_below_minimum(rows, classes, wanted):
        findings.add("class_minimum", f"{code}: {count} of {least} in {split}")


def check_parity(
    admitted: pd.DataFrame, classes: pd.DataFrame, wanted: ScaleParams, findings: Findings
) -> None:
    """Every class keeps an admitted pill in train and in val; those below the minimum are named."""
    for code, split, count, least in _classes_below_minimum(admitted, classes, wanted):
        name = "class_thinned" if count else "class_parity"
        findings.add(name, f"{code}: {count} of {least} in {split}")


def _classes_below_minimum(
    rows: pd.DataFrame, classes: pd.DataFrame, wanted: ScaleParams
) -> list[tuple[str, str, int, int]]:
    """Code, split, count, minimum of each class with too few known rows."""
    below = []
    for split, least in (
        ("train", wanted.min_train_per_class),
        ("val", wanted.min_val_per_class),
    ):
        found = rows.loc[rows["known"] & (rows["split"] == split), "mapping_code"].value_counts()
        counts = found.reindex(classes["mapping_code"], fill_value=0)
        below += [(str(code), split, int(n), least) for code, n in counts.items() if n < least]
    return sorted(below)


def check_duplicates(frames: pd.DataFrame, findings: Findings) -> dict[str, str]:
    """Photos with equal pixels; returns path and fact of those that an earlier split has too.

    `frames` has a row per valid photo: split, image_path, pixel_hash.
    """
    order = frames["split"].map({"train": 0, "val": 1, "test": 2})
    frames = frames.assign(order=order).sort_values(["order", "image_path"])
    first = frames.drop_duplicates("pixel_hash").set_index("pixel_hash")
    repeated = frames[frames.duplicated("pixel_hash")]
    refused = {}
    for row in repeated.itertuples():
        original = first.loc[str(row.pixel_hash)]
        across = original["split"] != row.split
        fact = f"same pixels as {original['image_path']} ({original['split']})"
        name = "duplicates_across_splits" if across else "duplicates"
        findings.add(name, f"{row.image_path} ({row.split}): {fact}")
        if across:
            refused[str(row.image_path)] = fact
    return refused


def check_near_duplicates(pills: pd.DataFrame, distance: int, findings: Findings) -> list[Pair]:
    """Pills of val and test whose crop is within `distance` bits of a train crop of their code.

    `pills` has a row per admitted pill: split, image_path, mapping_code, perceptual_hash (uint64).
    Returns (bits, row of the pill, row of the train pill), nearest first; rows by position.
    """
    hashes = pills["perceptual_hash"].to_numpy(dtype=np.uint64)
    in_train = (pills["split"] == "train").to_numpy()
    pairs = []
    for indices in pills.groupby("mapping_code").indices.values():
        rows = np.asarray(indices, dtype=np.int64)
        train, others = rows[in_train[rows]], rows[~in_train[rows]]
        if len(train) and len(others):
            nearest, differing = _nearest(hashes[train], hashes[others])
            close = differing <= distance
            pairs += list(zip(differing[close], others[close], train[nearest[close]], strict=True))
    found = sorted((int(bits), int(row), int(near)) for bits, row, near in pairs)
    paths, splits = pills["image_path"].to_numpy(), pills["split"].to_numpy()
    for bits, row, near in found:
        findings.add(
            "near_duplicates_across_splits",
            f"{paths[row]} ({splits[row]}): {bits} bits from {paths[near]} (train)",
        )
    return found


def _nearest(train: Hashes, others: Hashes) -> tuple[Ints, Ints]:
    """For each other hash: position of the nearest train hash, and how many bits differ."""
    position = np.empty(len(others), dtype=np.int64)
    bits = np.empty(len(others), dtype=np.int64)
    block = max(1, 2**22 // len(train))  # about 30 MB at once
    for start in range(0, len(others), block):
        part = slice(start, start + block)
        differing = np.bitwise_count(others[part, None] ^ train[None, :])
        position[part] = differing.argmin(axis=1)
        bits[part] = differing.min(axis=1)
    return position, bits
