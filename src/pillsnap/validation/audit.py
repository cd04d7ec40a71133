"""The audit of a run of validate: its rows, which are refused and why, and what was found."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pillsnap.dataset.findings import Findings
from pillsnap.params import ScaleParams, ValidateParams
from pillsnap.validation import checks, split_checks
from pillsnap.validation import photos as frames
from pillsnap.validation.pictures import Fitness
from pillsnap.validation.prepare import Preparation
from pillsnap.validation.work_store import Hashes

EXAMPLES_SHOWN = 4  # pictures per check in the report


@dataclass
class Audit:
    """Rows of all splits with `split`, `refused` (a check's name or "") and `detail`; findings."""

    rows: pd.DataFrame
    findings: Findings

    @property
    def admitted(self) -> pd.DataFrame:
        """The rows no check refuses."""
        return self.rows[self.rows["refused"] == ""]

    def refuse(self, rows: "pd.Series[bool]", name: str, details: Iterable[str]) -> None:
        """Refuse these rows (none is refused yet) in the name of a check."""
        self.rows.loc[rows, "detail"] = list(details)
        self.rows.loc[rows, "refused"] = name

    def refuse_photos(self, name: str, facts: Mapping[str, str]) -> None:
        """Refuse all rows of some photos, and count the photos."""
        of_photo = self.rows["image_path"].map(facts)
        hit = of_photo.notna() & (self.rows["refused"] == "")
        self.refuse(hit, name, of_photo[hit])


@dataclass(frozen=True)
class Pictured:
    """Check -> photos whose thumbnails the report shows."""

    photos: Mapping[str, tuple[str, ...]]

    @property
    def paths(self) -> frozenset[str]:
        """All of them."""
        return frozenset(path for paths in self.photos.values() for path in paths)


def check_rows(
    audit: Audit, classes: pd.DataFrame, root: Path, scale: ScaleParams, params: ValidateParams
) -> tuple[Fitness, Pictured]:
    """Everything that can be told without opening a photo."""
    rows, findings = audit.rows, audit.findings
    split_checks.check_classes(rows, classes, findings)
    split_checks.check_groups(rows, findings)
    split_checks.check_unknown(rows, findings)
    split_checks.check_counts(rows, classes, scale, findings)
    _check_labels(rows["label_path"], root, findings)
    refused = checks.check_boxes(rows, findings)
    shown = {}
    for name in sorted(set(refused) - {""}):
        audit.refuse(refused == name, name, checks.box_facts(rows[refused == name]))
        shown[name] = rows.loc[refused == name, "image_path"]
    strange = checks.check_box_area(audit.admitted, findings)
    shown["box_area"] = audit.admitted.loc[strange, "image_path"]
    disagreeing, incomplete = checks.check_names(rows[refused != "box_duplicated"], findings)
    shown["codes_in_name"] = pd.Series(sorted(disagreeing), dtype="str")
    shown["combination_incomplete"] = pd.Series(sorted(incomplete), dtype="str")
    torn = frozenset(rows.loc[refused != "", "image_path"])
    first = {name: tuple(sorted(set(paths))[:EXAMPLES_SHOWN]) for name, paths in shown.items()}
    return Fitness(torn, frozenset(incomplete)), Pictured(first)


def check_photos(
    audit: Audit,
    classes: pd.DataFrame,
    preparation: Preparation,
    hashes: Mapping[str, Hashes],
    scale: ScaleParams,
    params: ValidateParams,
) -> list[tuple[int, int, int]]:
    """Everything that takes the photos' pixels; returns near duplicates as rows of `admitted`."""
    for name in sorted({photo.reason for photo in preparation.refused}):
        photos = [photo for photo in preparation.refused if photo.reason == name]
        audit.findings.add_all(name, (f"{photo.image_path}: {photo.fact}" for photo in photos))
        audit.refuse_photos(name, {photo.image_path: photo.fact for photo in photos})
    of_photo = {path: hashes[key] for path, key in preparation.keys.items()}
    sound = audit.admitted.drop_duplicates("image_path")[["split", "image_path"]]
    sound["pixel_hash"] = [of_photo[path].pixel_hash for path in sound["image_path"]]
    repeated = split_checks.check_duplicates(sound, audit.findings)
    audit.refuse_photos("duplicates_across_splits", repeated)
    admitted = audit.admitted
    bits = [
        value
        for path in admitted["image_path"].unique()
        for value in of_photo[path].perceptual_hashes
    ]
    pills = admitted.assign(perceptual_hash=np.array(bits, dtype=np.uint64))
    near = split_checks.check_near_duplicates(pills, params.near_duplicate_distance, audit.findings)
    split_checks.check_parity(admitted, classes, scale, audit.findings)
    refused = len(audit.rows) - len(admitted)
    if refused > params.max_rejected * len(audit.rows):
        audit.findings.add(
            "rejected_share",
            f"{refused} of {len(audit.rows)} rows ({refused / len(audit.rows):.2%}), "
            f"validate.max_rejected is {params.max_rejected:.2%}",
        )
    return near


def _check_labels(paths: "pd.Series[str]", root: Path, findings: Findings) -> None:
    def missing(relative: str) -> bool:
        path = root / relative
        return not path.exists() and not frames.locate(path).exists()

    with ThreadPoolExecutor(16) as pool:  # on slow disks they wait, not work
        gone = list(pool.map(missing, paths, chunksize=256))
    findings.add_all("label_missing", paths[np.array(gone, dtype=bool)])
