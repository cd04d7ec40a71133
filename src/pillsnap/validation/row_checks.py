"""Checks of single rows: valid values, boxes, codes in file names, labels that still exist."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from pillsnap.dataset import source
from pillsnap.dataset.findings import Findings
from pillsnap.dataset.names import CODE, is_code, parse_codes

# Named in checks.yaml. In AI Hub's photos (976 x 1280 px) every box is within 7 times the median.
AREA_FACTOR = 16


def check_schema(rows: pd.DataFrame, findings: Findings) -> None:
    """Values that no manifest may hold; `rows` are of all splits, with a column `split`."""
    paths = rows["image_path"].astype(str)
    in_two = rows.groupby("image_path")["split"].transform("nunique") > 1
    for wrong, column in (
        (in_two, "split"),
        (~rows["image_type"].isin(["single", "combination"]), "image_type"),
        (~rows["mapping_code"].astype(str).map(is_code), "mapping_code"),
        (paths.str.startswith("/") | paths.str.contains(r"(?:^|/)\.\.(?:/|$)"), "image_path"),
        (rows["known"] != (rows["class_index"] >= 0), "class_index"),
        ((rows["image_width"] <= 0) | (rows["image_height"] <= 0), "image_width"),
        (rows["group_id"] == "", "group_id"),
    ):
        findings.add_all("schema", _values(rows[wrong], column))


def check_labels(paths: "pd.Series[str]", root: Path, findings: Findings) -> None:
    """Label files that have been removed since the manifests were built."""

    found = source.statuses([f"{root}/{path}" for path in paths])
    gone = np.array([isinstance(status, OSError) for status in found], dtype=bool)
    findings.add_all("label_missing", paths[gone])


def check_boxes(rows: pd.DataFrame, findings: Findings) -> "pd.Series[str]":
    """Name of the check that rejects a row, "" where none does."""
    right, bottom = rows["box_x"] + rows["box_w"], rows["box_y"] + rows["box_h"]
    empty = (rows["box_w"] <= 0) | (rows["box_h"] <= 0)
    outside = (rows["box_x"] < 0) | (rows["box_y"] < 0)
    outside |= (right > rows["image_width"]) | (bottom > rows["image_height"])
    box = ["split", "image_path", "box_x", "box_y", "box_w", "box_h"]
    repeated = rows.duplicated([*box, "mapping_code"])
    shared = rows[~repeated].duplicated(box, keep=False).reindex(rows.index, fill_value=False)
    rejected = pd.Series("", index=rows.index, dtype="str")
    for name, wrong in (
        ("box_positive", empty),
        ("box_inside", outside),
        ("box_duplicated", repeated),
        ("box_shared", shared),
    ):
        new = wrong & (rejected == "")
        rejected[new] = name
        findings.add_all(name, box_examples(rows[new]))
    return rejected


def check_box_area(rows: pd.DataFrame, findings: Findings) -> "pd.Series[bool]":
    """Whether a valid box is far larger or smaller than the median of its image type."""
    area = (rows["box_w"] * rows["box_h"]).astype(float)
    median = area.groupby(rows["image_type"]).transform("median")
    ratio = area / median
    unusual = (ratio > AREA_FACTOR) | (ratio < 1 / AREA_FACTOR)
    findings.add_all("box_area", box_examples(rows[unusual]))
    return unusual


def check_names(rows: pd.DataFrame, findings: Findings) -> tuple[set[str], set[str]]:
    """Compare labels with the codes in file names.

    Names of other photos than AI Hub's, and of drugs without a K-code, are not compared.
    Returns the photos with a code that their name lacks, and the combinations that lack a label.
    """
    extra_codes, incomplete = set(), set()
    rows = rows[rows["mapping_code"].str.fullmatch(CODE.pattern)]
    single = rows[rows["image_type"] == "single"]
    named = single["image_path"].str.extract(r"([^/_]*)(?:_[^/]*)?$")[0]
    others = single[(named.to_numpy() != single["mapping_code"].to_numpy())]
    lists = [
        (path, [code])
        for path, code in zip(others["image_path"], others["mapping_code"], strict=True)
    ]
    together = rows[rows["image_type"] == "combination"]
    lists += [(path, list(codes)) for path, codes in together.groupby("image_path")["mapping_code"]]
    for path, codes in lists:
        in_name = Counter(parse_codes(PurePosixPath(path).name.partition("_")[0]) or ())
        labelled = Counter(codes)
        if not in_name:  # not a photo of AI Hub's
            continue
        missing, extra = in_name - labelled, labelled - in_name
        if extra:
            extra_codes.add(path)
            findings.add("codes_in_name", f"{path}: labelled {' '.join(extra.elements())}")
        if missing and len(in_name) > 1:
            incomplete.add(path)
            unlabelled = " ".join(missing.elements())
            findings.add("combination_incomplete", f"{path}: no label of {unlabelled}")
    return extra_codes, incomplete


def box_facts(rows: pd.DataFrame) -> list[str]:
    """`code, box x y w h in width x height px` of each row."""
    return [
        f"{row.mapping_code}, box {row.box_x} {row.box_y} {row.box_w} {row.box_h} (x y w h) in "
        f"{row.image_width} x {row.image_height} px"
        for row in rows.itertuples()
    ]


def box_examples(rows: pd.DataFrame) -> list[str]:
    """`path: box_facts` of each row."""
    paths = rows["image_path"]
    return [f"{path}: {fact}" for path, fact in zip(paths, box_facts(rows), strict=True)]


def _values(rows: pd.DataFrame, column: str) -> Iterable[str]:
    return (
        f"{path}: {column} {value!r}"
        for path, value in zip(rows["image_path"], rows[column], strict=True)
    )
