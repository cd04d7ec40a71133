"""Chooses the pictures to make of each photo, from the manifests, before photos are read."""

import pandas as pd
import xxhash

from pillsnap.params import ScaleParams
from pillsnap.validation.work_store import Kind


def kinds_of(
    rows: pd.DataFrame, partly_labelled: frozenset[str], scale: ScaleParams, seed: int
) -> dict[str, frozenset[Kind]]:
    """Photo -> pictures to make. `rows`: admitted rows of all splits, with a column `split`.

    Photos in `partly_labelled` show a pill without a row: they give crops only.
    """
    frames = rows.drop_duplicates("image_path")
    single = frames["image_type"] == "single"
    # Combinations have no single code: they are chosen evenly over groups.
    frames = frames.assign(mapping_code=frames["mapping_code"].where(single, ""))
    labelled = ~frames["image_path"].isin(partly_labelled)

    def pick(split: str, of: "pd.Series[bool]", most: int) -> set[str]:
        return choose(frames[of & labelled & (frames["split"] == split)], most, seed)

    detection, evaluation = set[str](), set[str]()
    of_val = scale.val_share / (1 - scale.val_share)
    for split, share in (("train", 1.0), ("val", of_val)):
        detection |= pick(split, ~single, len(frames))
        detection |= pick(split, single, round(scale.detection_single_frames * share))
    for split in ("val", "test"):
        evaluation |= pick(split, ~single, scale.evaluation_frames)
        evaluation |= pick(split, single, scale.evaluation_frames)
    chosen = {Kind.DETECTION: detection, Kind.FRAME: evaluation}
    return {
        path: frozenset([Kind.CROP, *(kind for kind, paths in chosen.items() if path in paths)])
        for path in frames["image_path"]
    }


def choose(frames: pd.DataFrame, count: int, seed: int) -> set[str]:
    """The paths of `count` frames, as even as possible over codes, and over groups within a code.

    `frames` has a row per frame: image_path, mapping_code, group_id. Adding frames never makes
    `choose` take an old frame that it left out before, so no old photo is decoded again.
    """
    table = frames[["image_path", "mapping_code", "group_id"]].copy()
    for name in ("image_path", "mapping_code", "group_id"):
        table[f"{name}_draw"] = [_draw(seed, value) for value in table[name]]
    table = table.sort_values(["image_path_draw", "image_path"])
    table["turn"] = table.groupby(["mapping_code", "group_id"]).cumcount()
    table = table.sort_values(["turn", "group_id_draw", "group_id"])
    table["turn"] = table.groupby("mapping_code").cumcount()
    table = table.sort_values(["turn", "mapping_code_draw", "mapping_code"])
    return set(table["image_path"].head(count))


def _draw(seed: int, value: str) -> int:
    return xxhash.xxh3_64_intdigest(f"{seed} {value}".encode())
