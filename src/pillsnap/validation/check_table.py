"""The table of validate's checks: what each counts, how serious a finding is, how to fix it."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from pillsnap import files
from pillsnap.dataset.findings import Findings

TABLE = Path(__file__).with_name("checks.yaml")


class Severity(StrEnum):
    """What a finding does."""

    ERROR = "error"  # the stage fails
    REFUSAL = "refusal"  # the rows are rejected, and count towards validate.max_rejected
    WARNING = "warning"  # reported only


@dataclass(frozen=True)
class Check:
    """A check as checks.yaml describes it."""

    severity: Severity
    counts: str  # unit of the count
    meaning: str
    cure: str
    ko: tuple[str, str]  # meaning and cure in Korean


@cache
def checks() -> dict[str, Check]:
    """The checks by name."""
    cure = "Install PillSnap again: pip install -e ."
    return files.typed(files.read_yaml(TABLE, cure), dict[str, Check], TABLE, cure)


def failed(findings: Findings) -> dict[str, Check]:
    """The checks that make the stage fail: those that rejected rows where too many are rejected."""
    fatal = {Severity.ERROR}
    if findings.counts.get("rejected_share"):
        fatal.add(Severity.REFUSAL)
    return {
        name: check
        for name, check in checks().items()
        if findings.counts.get(name) and check.severity in fatal
    }


def results(findings: Findings) -> list[dict[str, object]]:
    """Every check as validation.json lists it. Where schema fails, the others are not run."""
    assert set(findings.counts) <= checks().keys(), findings.counts
    schema_failed = bool(findings.counts.get("schema"))
    return [
        _result(name, check, findings, name == "schema" or not schema_failed)
        for name, check in checks().items()
    ]


def _result(name: str, check: Check, findings: Findings, ran: bool) -> dict[str, object]:
    count = findings.counts.get(name, 0)
    status = "pass" if not count else "fail" if check.severity is Severity.ERROR else "warn"
    return {
        "name": name,
        "status": status if ran else "warn",
        "severity": check.severity,
        "count": count,
        "counts": check.counts,
        "examples": findings.examples.get(name, []) if ran else ["not run: schema failed"],
        "meaning": check.meaning,
        "cure": check.cure,
        "ko": check.ko,
    }
