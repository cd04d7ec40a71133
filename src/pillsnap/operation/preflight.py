"""The checklist before a training: what would break hours later is found in seconds."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import orjson
from rich.table import Table
from rich.text import Text

from pillsnap import files
from pillsnap.operation import check_checkout, check_data, check_gpu, check_machine, check_models
from pillsnap.operation.point import Point
from pillsnap.params import Params

CHECKS: tuple[Callable[[Params, Path], list[Point]], ...] = (
    check_gpu.check,
    check_machine.disk,
    check_machine.memory,
    check_machine.processors,
    check_checkout.dvc,
    check_checkout.line_ends,
    check_checkout.folders,
    check_data.data,
    check_data.manifests,
    check_models.weights,
    check_models.training_time,
    check_models.learning_rate,
    check_checkout.git,
    check_checkout.remote,
)
COLOURS = {"pass": "green", "warn": "yellow", "fail": "bold red"}


def check(params: Params, root: Path) -> list[Point]:
    """Every point for the scale that `params` names. Writes nothing, and looks at the network only
    where pretrained weights are not at hand."""
    return [point for one in CHECKS for point in one(params, root)]


def failures(points: list[Point]) -> list[Point]:
    """The points that prevent a training."""
    return [point for point in points if point.status == "fail"]


def render(points: list[Point], title: str | None = None) -> Table:
    """The points as a table for the terminal."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for point in points:
        text = Text(point.value)
        if point.cure:
            text.append(f"\n-> {point.cure}", style="cyan")
        table.add_row(Text(point.status, style=COLOURS[point.status]), point.name, text)
    return table


def as_json(points: list[Point]) -> str:
    """`{"ok": bool, "points": [{"name", "status", "value", "cure"}]}`."""
    content = {"ok": not failures(points), "points": [*map(asdict, points)]}
    return files.json_bytes(content, orjson.OPT_INDENT_2).decode()
