"""A point of the checklist before a training: a measured fact and one cure."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["pass", "warn", "fail"]


@dataclass(frozen=True)
class Point:
    """One checked thing; `cure` is empty where nothing is to be done."""

    name: str
    status: Status
    value: str
    cure: str = ""


def passed(name: str, value: str) -> Point:
    """Nothing is to be done."""
    return Point(name, "pass", value)


def warned(name: str, value: str, cure: str) -> Point:
    """The training can run; look at it."""
    return Point(name, "warn", value, cure)


def failed(name: str, value: str, cure: str) -> Point:
    """The training would break, sooner or later."""
    return Point(name, "fail", value, cure)


def duration(minutes: float) -> str:
    """Minutes as text: 42 min, or 12 h from ten hours on."""
    return f"{minutes:,.0f} min" if minutes < 600 else f"{minutes / 60:,.0f} h"


def gb(count_bytes: float) -> str:
    """Bytes as text: 12.3 GB (10^9), small ones in MB."""
    return f"{count_bytes / 1e9:.1f} GB" if count_bytes >= 1e9 else f"{count_bytes / 1e6:.0f} MB"
