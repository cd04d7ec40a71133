"""Runs the checks of validate, on the manifests' rows, then on the photos: the verdict."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from pillsnap.dataset.findings import Findings
from pillsnap.params import Params, ScaleParams
from pillsnap.validation import row_checks, split_checks
from pillsnap.validation.prepare import Rejected
from pillsnap.validation.split_checks import Pair
from pillsnap.validation.work_store import Hashes

EXAMPLES_SHOWN = 4  # photos per check in the report


@dataclass
class CheckedRows:
    """The rows of all splits with `split`, `rejected` (a check's name or "") and `detail`."""

    rows: pd.DataFrame
    findings: Findings = field(default_factory=Findings)
    partly_labelled: frozenset[str] = frozenset()  # photos that show a pill without a valid row
    shown: dict[str, tuple[str, ...]] = field(default_factory=dict)  # check -> photos to show
    near: list[Pair] = field(default_factory=list)  # near duplicates, by position in `admitted`

    @property
    def admitted(self) -> pd.DataFrame:
        """The rows that no check rejects."""
        return self.rows[self.rows["rejected"] == ""]

    def reject(self, rows: "pd.Series[bool]", name: str, details: Iterable[str]) -> None:
        """Reject these rows (none is rejected yet) in the name of a check."""
        self.rows.loc[rows, "detail"] = list(details)
        self.rows.loc[rows, "rejected"] = name

    def reject_photos(self, name: str, facts: Mapping[str, str]) -> None:
        """Reject all rows of some photos, given with the facts."""
        of_photo = self.rows["image_path"].map(facts)
        hit = of_photo.notna() & (self.rows["rejected"] == "")
        self.reject(hit, name, of_photo[hit])


def run(
    rows: pd.DataFrame, classes: pd.DataFrame, root: Path, scale: ScaleParams, corrected: int = 0
) -> CheckedRows:
    """Check rows (of all splits, with a column `split`) without opening a photo.

    `corrected`: pills that corrections added or deleted after the photos were chosen.

    Where the schema fails, the other checks are not run.
    """
    verdict = CheckedRows(rows.assign(rejected="", detail=""))
    findings = verdict.findings
    row_checks.check_schema(rows, findings)
    if findings.counts:
        return verdict
    split_checks.check_classes(rows, classes, findings)
    split_checks.check_groups(rows, findings)
    split_checks.check_groups_known(rows, findings)
    split_checks.check_unknown(rows, findings)
    split_checks.check_counts(rows, classes, scale, findings, corrected)
    row_checks.check_labels(rows["label_path"], root, findings)
    paths = rows["image_path"]
    rejected = row_checks.check_boxes(rows, findings)
    shown = {}
    for name in sorted(set(rejected) - {""}):
        hit = rejected == name
        verdict.reject(hit, name, row_checks.box_facts(rows[hit]))
        shown[name] = set(paths[hit])
    unusual = row_checks.check_box_area(verdict.admitted, findings)
    shown["box_area"] = set(verdict.admitted.loc[unusual, "image_path"])
    extra_codes, incomplete = row_checks.check_names(rows[rejected != "box_duplicated"], findings)
    shown |= {"codes_in_name": extra_codes, "combination_incomplete": incomplete}
    verdict.shown = {name: tuple(sorted(found)[:EXAMPLES_SHOWN]) for name, found in shown.items()}
    verdict.partly_labelled = frozenset(paths[rejected != ""]) | incomplete
    return verdict


def run_on_photos(
    verdict: CheckedRows,
    hashes: Mapping[str, Hashes],
    rejected: Sequence[Rejected],
    classes: pd.DataFrame,
    params: Params,
) -> None:
    """Check what was read of the photos: `hashes` of the valid ones by path, and the others."""
    findings = verdict.findings
    for name in sorted({photo.reason for photo in rejected}):
        facts = {photo.image_path: photo.fact for photo in rejected if photo.reason == name}
        findings.add_all(name, (f"{path}: {fact}" for path, fact in facts.items()))
        verdict.reject_photos(name, facts)
    photos = verdict.admitted.drop_duplicates("image_path")[["split", "image_path"]]
    photos["pixel_hash"] = [hashes[path].pixel_hash for path in photos["image_path"]]
    repeated = split_checks.check_duplicates(photos, findings)
    verdict.reject_photos("duplicates_across_splits", repeated)
    admitted = verdict.admitted
    of_pills = [hashes[path].perceptual_hashes for path in admitted["image_path"].unique()]
    bits = np.array([value for values in of_pills for value in values], dtype=np.uint64)
    pills = admitted.assign(perceptual_hash=bits)
    distance, most = params.validate_.near_duplicate_distance, params.validate_.max_rejected
    verdict.near = split_checks.check_near_duplicates(pills, distance, findings)
    split_checks.check_parity(admitted, classes, params.at_scale, findings)
    count, every = len(verdict.rows) - len(admitted), len(verdict.rows)
    if count > most * every:
        findings.add(
            "rejected_share",
            f"{count} of {every} rows ({count / every:.2%}), validate.max_rejected is {most:.2%}",
        )
