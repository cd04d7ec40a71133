"""The report of validate: validation.json, rejected.csv and one HTML file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pillsnap import files
from pillsnap.dataset import manifest
from pillsnap.stage import page
from pillsnap.validation import check_table
from pillsnap.validation.checks import CheckedRows

ROWS_SHOWN = 200  # of rejected.csv
WORDS = {"fail": "failed", "warn": "warning", "pass": "passed"}


@dataclass(frozen=True)
class Example:
    """Pictures (JPEG bytes) of one finding of a check."""

    check: str
    caption: str
    jpegs: tuple[bytes, ...]


def write(
    verdict: CheckedRows,
    artifacts_dir: Path,
    pictures: Mapping[str, int] | None = None,
    examples: Sequence[Example] = (),
) -> None:
    """Write the three files; `pictures`: how many of each kind there are, None: none was made."""
    content = content_of(verdict, pictures)
    rejected = verdict.rows[verdict.rows["rejected"] != ""]
    reasons = rejected["rejected"] + ": " + rejected["detail"]
    table = pd.DataFrame({"path": rejected["image_path"], "reason": reasons})
    table = table.drop_duplicates().sort_values(["path", "reason"])
    files.write_json(artifacts_dir / "validation.json", content)
    csv = table.to_csv(index=False, lineterminator="\n")
    files.write_text(artifacts_dir / "rejected.csv", csv)
    files.write_text(artifacts_dir / "validation.html", render(content, table, examples))


def content_of(verdict: CheckedRows, pictures: Mapping[str, int] | None) -> dict[str, Any]:
    """The content of validation.json."""
    checks = check_table.results(verdict.findings)
    admitted = verdict.admitted["split"].value_counts()
    rejected = verdict.rows["rejected"].value_counts().drop("", errors="ignore")
    content: dict[str, Any] = {
        "ok": all(check["status"] != "fail" for check in checks),
        "checks": checks,
        "admitted": {split: int(admitted.get(split, 0)) for split in manifest.SPLITS},
        "rejected": {str(name): int(count) for name, count in sorted(rejected.items())},
        "rows": len(verdict.rows),
    }
    if pictures is not None:
        content["pictures"] = dict(pictures)
    return content


def render(content: Mapping[str, Any], rejected: pd.DataFrame, examples: Sequence[Example]) -> str:
    """The page for a validation.json, the rejected rows (path, reason) and some pictures."""
    return page.render(
        "validation/templates/report.html",
        checks=[{**check, "amount": _amount(check)} for check in content["checks"]],
        words=WORDS,
        tiles=_tiles(content),
        examples=examples,
        rejected=list(rejected.head(ROWS_SHOWN).itertuples(index=False, name=None)),
        rejected_count=len(rejected),
    )


def _tiles(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Counts and what they count."""
    rejected = sum(content["rejected"].values())
    share = rejected / content["rows"] if content["rows"] else 0.0
    tiles = [(f"{count:,}", f"{split} pills") for split, count in content["admitted"].items()]
    tiles.append((f"{rejected:,}", f"rejected ({share:.2%} of {content['rows']:,})"))
    for name, count in content.get("pictures", {}).items():
        tiles.append((f"{count:,}", name.replace("_", " ")))
    return tiles


def _amount(check: Mapping[str, Any]) -> str:
    """`1 class`, `5 classes`."""
    unit = str(check["counts"])
    if check["count"] == 1:
        unit = unit.removesuffix("es") if unit.endswith("sses") else unit.removesuffix("s")
    return f"{check['count']:,} {unit}"
