"""The named checks of validate: what each is about, how bad a finding is, and what mends it.

The functions here look at the manifests' rows alone; `split_checks` compares the splits.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

import pandas as pd

from pillsnap.dataset.findings import Findings
from pillsnap.dataset.names import CODE, parse_codes

AREA_FACTOR = 16  # of the set's 976 x 1280 photos no box is further than 7 from the median area


class Severity(StrEnum):
    """What one finding does."""

    ERROR = "error"  # the stage fails
    REFUSAL = "refusal"  # the rows are left out, and count towards validate.max_rejected
    WARNING = "warning"  # named, nothing is left out of training


@dataclass(frozen=True)
class Check:
    """A check: what is counted, how bad it is, what it means, and the cure."""

    name: str
    severity: Severity
    counts: str  # unit of the count
    meaning: str
    cure: str


E, R, W = Severity.ERROR, Severity.REFUSAL, Severity.WARNING
_RESTORE = "Restore the photos from the AI Hub archives, or remove them and run dvc repro."
_REBUILD = "Rebuild the manifests: dvc repro -f build_manifest."
_RELABEL = "Mend or remove the labels, then pillsnap fingerprint and dvc repro."

CHECKS = (
    Check("schema", E, "rows", "Manifest rows hold values that cannot be.", _REBUILD),
    Check("class_index", E, "rows", "Rows disagree with classes.csv.", _REBUILD),
    Check("sample_count", E, "splits", "Train and val together differ from samples.", _REBUILD),
    Check("class_count", E, "splits", "There are more or fewer classes than asked for.", _REBUILD),
    Check("combination_share", E, "splits", "The share of combination pills is off.", _REBUILD),
    Check("val_share", E, "splits", "The share of val pills is off.", _REBUILD),
    Check("class_minimum", E, "classes", "Classes have fewer rows than the scale asks.", _REBUILD),
    Check(
        "class_parity", E, "classes", "Classes have no admitted pill in train or in val.",
        "Restore their refused photos (rejected.csv), or lower scales.<scale>.classes.",
    ),
    Check(
        "class_thinned", W, "classes", "Refusals took classes below the minimum per split.",
        "Restore their refused photos (rejected.csv).",
    ),
    Check("group_leakage", E, "groups", "Capture groups stand in train and in val.", _REBUILD),
    Check("unknown_overlap", E, "codes", "Codes tested as unknown are trained on.", _REBUILD),
    Check("box_inside", R, "pills", "Boxes reach out of the photo.", _RELABEL),
    Check("box_positive", R, "pills", "Boxes have no area.", _RELABEL),
    Check("box_duplicated", R, "pills", "A pill of a photo is listed twice.", _RELABEL),
    Check("box_shared", R, "pills", "Two codes claim one box; one of them lies.", _RELABEL),
    Check(
        "box_area", W, "pills", f"Boxes are {AREA_FACTOR} times larger or smaller than usual.",
        "Look at the pictures; mend the labels if the pill is not in the box.",
    ),
    Check(
        "codes_in_name", W, "photos", "Labels name other or more pills than the file name.",
        "Compare the labels with the codes in the photo's name.",
    ),
    Check(
        "combination_incomplete", W, "photos",
        "Combination photos show pills without a label.",
        "They train the classifier only. For detection, add the labels, then pillsnap fingerprint "
        "and dvc repro.",
    ),
    Check("label_missing", W, "labels", "Label files are gone since the manifests.", _RELABEL),
    Check("photo_missing", R, "photos", "Photos are not there.", _RESTORE),
    Check("photo_unreadable", R, "photos", "Photos cannot be read.", "Mend rights or the disk."),
    Check("photo_not_png", R, "photos", "Photos are no PNG.", _RESTORE),
    Check(
        "photo_too_large", R, "photos", "Photos have more pixels than allowed.",
        "Shrink them, or raise validate.max_pixels.",
    ),
    Check("photo_damaged", R, "photos", "Photos are damaged or cut short.", _RESTORE),
    Check("photo_kind", R, "photos", "Photos are not 8-bit RGB.", "Save them as 8-bit RGB PNG."),
    Check("size_differs", R, "photos", "Photos have another size than labelled.", _RESTORE),
    Check(
        "duplicates_across_splits", R, "photos",
        "Photos of val or test are pixel for pixel photos of train.",
        "They are left out of val and test: nothing to do, unless there are many.",
    ),
    Check(
        "duplicates", W, "photos", "Photos repeat another photo of their split pixel for pixel.",
        "They weigh twice; remove one of each.",
    ),
    Check(
        "near_duplicates_across_splits", W, "pills",
        "Pills of val or test look nearly like a train pill of the same code.",
        "Figures of val are that much optimistic; validate.near_duplicate_distance says how near.",
    ),
    Check(
        "rejected_share", E, "pills", "More rows are refused than validate.max_rejected allows.",
        "Mend what the checks above name, or raise validate.max_rejected.",
    ),
)  # fmt: skip


def results(findings: Findings, complete: bool) -> list[dict[str, object]]:
    """Every check as validation.json lists it; `complete` is False where only schema was run."""
    assert set(findings.counts) <= {check.name for check in CHECKS}, findings.counts
    return [_result(check, findings, complete or check.name == "schema") for check in CHECKS]


def _result(check: Check, findings: Findings, ran: bool) -> dict[str, object]:
    count = findings.counts.get(check.name, 0)
    status = "pass" if not count else "fail" if check.severity is Severity.ERROR else "warn"
    return {
        "name": check.name,
        "status": status if ran else "warn",
        "severity": str(check.severity),
        "count": count,
        "counts": check.counts,
        "examples": findings.examples.get(check.name, []) if ran else ["not run: schema failed"],
        "meaning": check.meaning,
        "cure": check.cure,
    }


def check_schema(rows: pd.DataFrame, findings: Findings) -> None:
    """Values no manifest may hold; `rows` are all splits' with a column `split`."""
    paths = rows["image_path"].astype(str)
    in_two = rows.groupby("image_path")["split"].transform("nunique") > 1
    for wrong, what in (
        (in_two, "split"),
        (~rows["image_type"].isin(["single", "combination"]), "image_type"),
        (~rows["mapping_code"].astype(str).str.fullmatch(CODE.pattern), "mapping_code"),
        (paths.str.startswith("/") | paths.str.contains(r"(?:^|/)\.\.(?:/|$)"), "image_path"),
        (rows["known"] != (rows["class_index"] >= 0), "class_index"),
        ((rows["image_width"] <= 0) | (rows["image_height"] <= 0), "image_width"),
        (rows["group_id"] == "", "group_id"),
    ):
        findings.add_all("schema", _shown(rows[wrong], what))


def check_boxes(rows: pd.DataFrame, findings: Findings) -> pd.Series:
    """Name of the check that refuses a row, "" where none does."""
    right, bottom = rows["box_x"] + rows["box_w"], rows["box_y"] + rows["box_h"]
    flat = (rows["box_w"] <= 0) | (rows["box_h"] <= 0)
    outside = (rows["box_x"] < 0) | (rows["box_y"] < 0)
    outside |= (right > rows["image_width"]) | (bottom > rows["image_height"])
    box = ["split", "image_path", "box_x", "box_y", "box_w", "box_h"]
    twice = rows.duplicated([*box, "mapping_code"])
    shared = rows[~twice].duplicated(box, keep=False).reindex(rows.index, fill_value=False)
    refused = pd.Series("", index=rows.index, dtype="str")
    for name, wrong in (
        ("box_positive", flat),
        ("box_inside", outside),
        ("box_duplicated", twice),
        ("box_shared", shared),
    ):
        new = wrong & (refused == "")
        refused[new] = name
        findings.add_all(name, box_examples(rows[new]))
    return refused


def check_box_area(rows: pd.DataFrame, findings: Findings) -> pd.Series:
    """Whether a sound box is far larger or smaller than the usual one of its kind of photo."""
    area = (rows["box_w"] * rows["box_h"]).astype(float)
    usual = area.groupby(rows["image_type"]).transform("median")
    ratio = area / usual
    strange = (ratio > AREA_FACTOR) | (ratio < 1 / AREA_FACTOR)
    findings.add_all("box_area", box_examples(rows[strange]))
    return strange


def check_names(rows: pd.DataFrame, findings: Findings) -> tuple[set[str], set[str]]:
    """Compare labels with the codes in the photo's name: photos that disagree, incomplete ones."""
    disagreeing, incomplete = set(), set()
    single = rows[rows["image_type"] == "single"]
    named = single["image_path"].str.extract(r"([^/]*)$")[0].str.partition("_")[0]
    others = single[(named.to_numpy() != single["mapping_code"].to_numpy())]
    lists = [
        (path, [code])
        for path, code in zip(others["image_path"], others["mapping_code"], strict=True)
    ]
    together = rows[rows["image_type"] == "combination"]
    lists += [(path, list(codes)) for path, codes in together.groupby("image_path")["mapping_code"]]
    for path, codes in lists:
        labelled, in_name = Counter(codes), Counter(_codes_of(path))
        missing, extra = in_name - labelled, labelled - in_name
        if extra:
            disagreeing.add(path)
            findings.add("codes_in_name", f"{path}: labelled {' '.join(extra.elements())}")
        if missing and len(in_name) > 1:
            incomplete.add(path)
            unlabelled = " ".join(missing.elements())
            findings.add("combination_incomplete", f"{path}: no label of {unlabelled}")
    return disagreeing, incomplete


def box_facts(rows: pd.DataFrame) -> list[str]:
    """`code, box x y w h in a photo of so many pixels` of each row."""
    return [
        f"{row.mapping_code}, box {row.box_x} {row.box_y} {row.box_w} {row.box_h} (x y w h) in "
        f"{row.image_width} x {row.image_height} px"
        for row in rows.itertuples()
    ]


def box_examples(rows: pd.DataFrame) -> list[str]:
    """`path: box_facts` of each row."""
    paths = rows["image_path"]
    return [f"{path}: {fact}" for path, fact in zip(paths, box_facts(rows), strict=True)]


def _shown(rows: pd.DataFrame, column: str) -> Iterable[str]:
    return (
        f"{path}: {column} {value!r}"
        for path, value in zip(rows["image_path"], rows[column], strict=True)
    )


def _codes_of(image_path: str) -> tuple[str, ...]:
    return parse_codes(PurePosixPath(image_path).name.partition("_")[0]) or ()
