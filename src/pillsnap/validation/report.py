"""The report of validate: one HTML file without outside requests, verdict first."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pillsnap.stage import page

ROWS_SHOWN = 200  # of rejected.csv
WORDS = {"fail": "failed", "warn": "warning", "pass": "passed"}


@dataclass(frozen=True)
class Example:
    """Pictures (JPEG bytes) of one finding of a check."""

    check: str
    caption: str
    jpegs: tuple[bytes, ...]


def render(verdict: Mapping[str, Any], rejected: pd.DataFrame, examples: list[Example]) -> str:
    """The page for a validation.json, the rejected rows (path, reason) and some pictures."""
    return page.render(
        "validation/templates/report.html",
        checks=[{**check, "amount": _amount(check)} for check in verdict["checks"]],
        words=WORDS,
        tiles=_tiles(verdict),
        examples=examples,
        rejected=list(rejected.head(ROWS_SHOWN).itertuples(index=False, name=None)),
        rejected_count=len(rejected),
    )


def _tiles(verdict: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Counts and what they count."""
    rejected = sum(verdict["rejected"].values())
    share = rejected / verdict["rows"] if verdict["rows"] else 0.0
    tiles = [(f"{count:,}", f"{split} pills") for split, count in verdict["admitted"].items()]
    tiles.append((f"{rejected:,}", f"rejected ({share:.2%} of {verdict['rows']:,})"))
    for name, count in verdict.get("pictures", {}).items():
        tiles.append((f"{count:,}", name.replace("_", " ")))
    return tiles


def _amount(check: Mapping[str, Any]) -> str:
    """`1 class`, `5 classes`."""
    unit = str(check["counts"])
    if check["count"] == 1:
        unit = unit.removesuffix("es") if unit.endswith("sses") else unit.removesuffix("s")
    return f"{check['count']:,} {unit}"
