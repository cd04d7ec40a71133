"""How much the split flatters the figures: what build_manifest and validate found out about it."""

import json
from pathlib import Path
from typing import Any

from pillsnap.evaluation.sections import explained

Json = dict[str, Any]

NEAR, EXACT, TORN = "near_duplicates_across_splits", "duplicates_across_splits", "group_leakage"


def read(path: Path) -> Json:
    """A stage's JSON report; empty where it is not there."""
    if not path.is_file():
        return {}
    report: Json = json.loads(path.read_text(encoding="utf-8"))
    return report


def left_out_codes(sampling: Json) -> frozenset[str]:
    """K-codes that build_manifest kept out of the class table on purpose."""
    return frozenset(sampling.get("left_out_codes", ()))


def of_splits(validation: Json) -> Json:
    """The section `honesty` of metrics.json, out of validation.json.

    near_duplicate_share: part of the pills of val and test that nearly equal a train pill of their
    code. Photos of val and test that equal one of train are refused, torn groups stop validate.
    """
    counts = {check["name"]: check["count"] for check in validation.get("checks", ())}
    admitted = validation.get("admitted", {})
    pills = sum(admitted.get(split, 0) for split in ("val", "test"))
    measured = NEAR in counts and pills > 0
    figures = {
        "near_duplicate_share": counts[NEAR] / pills if measured else None,
        "near_duplicates": counts.get(NEAR),
        "exact_duplicates_refused": counts.get(EXACT),
        "torn_groups": counts.get(TORN),
    }
    return {**explained(figures, "no validation.json, or no pill in val and test"), "pills": pills}
