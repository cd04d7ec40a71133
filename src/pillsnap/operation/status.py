"""`dvc status --json` as a table: which stages are out of date, and why."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from rich.table import Table
from rich.text import Text

from pillsnap.places import STAGES

MOST_REASONS = 3


def table(printed: str) -> Table:
    """A row for each stage: out of date and why, or up to date, also where another stage is going
    to change its inputs: DVC finds out while it runs."""
    status = orjson.loads(printed.strip().rpartition("\n")[2])
    rows = Table(box=None, pad_edge=False, show_header=False)
    for stage in STAGES:
        reasons = list(_reasons(status.get(stage, [])))
        more = f" and {len(reasons) - MOST_REASONS} more" if len(reasons) > MOST_REASONS else ""
        state = Text("out of date", "bold") if reasons else Text("up to date", "green")
        rows.add_row(state, stage, Text(", ".join(reasons[:MOST_REASONS]) + more))
    return rows


def _reasons(entry: Any, name: str = "") -> Iterator[str]:
    """`changed deps: {params.yaml: {seed: modified}}` as `seed modified`."""
    if isinstance(entry, Mapping):
        for key, value in entry.items():
            yield from _reasons(value, str(key))
    elif isinstance(entry, list):
        for value in entry:
            yield from _reasons(value, name)
    else:
        yield f"{name} {entry}".strip()
