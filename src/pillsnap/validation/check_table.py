"""The table of validate's checks: what each counts, how serious a finding is, how to fix it."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from pillsnap import files
from pillsnap.dataset.findings import Findings
from pillsnap.validation.row_checks import AREA_FACTOR


class Severity(StrEnum):
    """What a finding does."""

    ERROR = "error"  # the stage fails
    REFUSAL = "refusal"  # the rows are rejected, and count towards validate.max_rejected
    WARNING = "warning"  # reported only


@dataclass(frozen=True)
class Check:
    """A check: what is counted, how serious it is, what it means, and the cure."""

    name: str
    severity: Severity
    counts: str  # unit of the count
    meaning: str
    cure: str


E, R, W = Severity.ERROR, Severity.REFUSAL, Severity.WARNING
_RESTORE = (
    "Restore the photos from their source, then dvc repro -f validate; or remove them, then "
    "pillsnap fingerprint and dvc repro."
)
_REBUILD = "Rebuild the manifests: dvc repro -f build_manifest."
_RELABEL = "Fix or remove the labels, then pillsnap fingerprint and dvc repro."

CHECKS = (
    Check("schema", E, "rows", "Manifest rows hold invalid values.", _REBUILD),
    Check("class_index", E, "rows", "Rows disagree with classes.csv.", _REBUILD),
    Check("sample_count", E, "splits", "Train and val do not add up to samples.", _REBUILD),
    Check("class_count", E, "splits", "The number of classes differs from params.yaml.", _REBUILD),
    Check(
        "combination_share", E, "splits",
        "The share of combination pills differs from params.yaml.", _REBUILD,
    ),
    Check("val_share", E, "splits", "The share of val pills differs from params.yaml.", _REBUILD),
    Check(
        "class_minimum", E, "classes", "Classes have fewer rows than the scale's minimum.",
        _REBUILD,
    ),
    Check(
        "class_parity", E, "classes", "Classes have no admitted pill in train or in val.",
        "Restore their rejected photos (rejected.csv), or lower scales.<scale>.classes.",
    ),
    Check(
        "class_thinned", W, "classes",
        "Rejected photos leave classes below their minimum in a split.",
        "Restore their rejected photos (rejected.csv).",
    ),
    Check("group_leakage", E, "groups", "Capture groups are in both train and val.", _REBUILD),
    Check(
        "groups_unknown", W, "photos",
        "The capture groups of photos are unknown; each counts as one of its own. Photos that look "
        "alike may be in train and in val and make the metrics of val optimistic.",
        "List the photos of each capture session in groups.csv (docs/own-photos.md), then "
        "pillsnap fingerprint and dvc repro.",
    ),
    Check("unknown_overlap", E, "codes", "Codes tested as unknown are in train.", _REBUILD),
    Check("box_inside", R, "pills", "Boxes extend beyond the photo.", _RELABEL),
    Check("box_positive", R, "pills", "Boxes have no area.", _RELABEL),
    Check("box_duplicated", R, "pills", "The same pill is listed twice.", _RELABEL),
    Check("box_shared", R, "pills", "Two codes have the same box; one is wrong.", _RELABEL),
    Check(
        "box_area", W, "pills",
        f"Boxes are over {AREA_FACTOR} times larger or smaller than the median.",
        "Look at the pictures; fix the labels if the pill is not in the box.",
    ),
    Check(
        "codes_in_name", W, "photos", "Labels have codes that the file name lacks.",
        "Compare the labels with the codes in the photo's file name.",
    ),
    Check(
        "combination_incomplete", W, "photos", "Combination photos show pills without a label.",
        "They are used for crops, not for detection. To use them for both, add the labels, then "
        "pillsnap fingerprint and dvc repro.",
    ),
    Check(
        "label_missing", W, "labels", "Labels have been removed since build_manifest read them.",
        _RELABEL,
    ),
    Check("photo_missing", R, "photos", "Photos are missing.", _RESTORE),
    Check(
        "photo_unreadable", R, "photos", "Photos cannot be read.",
        "Make them readable (chmod, chown), or restore the damaged archive; check the disk.",
    ),
    Check("photo_not_png", R, "photos", "Photos are not PNG files.", _RESTORE),
    Check(
        "photo_too_large", R, "photos", "Photos have more pixels than allowed.",
        "Shrink them, or raise validate.max_pixels.",
    ),
    Check("photo_damaged", R, "photos", "Photos are damaged or truncated.", _RESTORE),
    Check("size_differs", R, "photos", "Photos and labels disagree on the size.", _RESTORE),
    Check(
        "duplicates_across_splits", R, "photos",
        "Photos of val or test have the same pixels as photos of train.",
        "They are left out of val and test. Nothing to do, unless there are many.",
    ),
    Check(
        "duplicates", W, "photos", "Photos have the same pixels as another photo of their split.",
        "They count twice in training; remove one of each.",
    ),
    Check(
        "near_duplicates_across_splits", W, "pills",
        "Pills of val or test look almost like a train pill of the same code.",
        "They make the metrics of val optimistic; validate.near_duplicate_distance sets the limit.",
    ),
    Check(
        "rejected_share", E, "pills", "More rows are rejected than validate.max_rejected allows.",
        "Fix what the checks above list, or raise validate.max_rejected.",
    ),
)  # fmt: skip


def failed(findings: Findings) -> list[Check]:
    """The checks that make the stage fail: those that rejected rows where too many are rejected."""
    found = [check for check in CHECKS if findings.counts.get(check.name)]
    too_many = bool(findings.counts.get("rejected_share"))
    return [c for c in found if c.severity is E or (too_many and c.severity is R)]


def results(findings: Findings) -> list[dict[str, object]]:
    """Every check as validation.json lists it. Where schema fails, the others are not run."""
    assert set(findings.counts) <= {check.name for check in CHECKS}, findings.counts
    schema_failed = bool(findings.counts.get("schema"))
    return [
        _result(check, findings, check.name == "schema" or not schema_failed) for check in CHECKS
    ]


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
        "ko": _korean().get(check.name, [check.meaning, check.cure]),
    }


@cache
def _korean() -> dict[str, list[str]]:
    """Meaning and cure of each check in Korean."""
    path = Path(__file__).parent / "templates" / "korean.json"
    texts: dict[str, list[str]] = files.read_json(path, "Install the package again.")
    return texts
