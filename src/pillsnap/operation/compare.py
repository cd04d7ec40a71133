"""`pillsnap compare`: ten metrics and the changed parameters of the workspace and of revisions.

Revisions are read by DVC: experiments and commits, their cached files included.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table

from pillsnap import files, params
from pillsnap.errors import DataError, UserError, reason_of
from pillsnap.files import Json
from pillsnap.operation import git_state
from pillsnap.params import at

METRICS = (
    "classification.top1",
    "classification.macro_f1",
    "classification.ece",
    "detection.map50",
    "detection.map50_95",
    "pipeline.pill_f1",
    "pipeline.frame_exact",
    "pipeline.ms_per_frame_p50",
    "unknown.auroc",
    "training.total_minutes",
)
NEWEST = 5  # experiments of HEAD that are compared without REV
KNOWN = "List the experiments: dvc exp list -A (commits: git log --oneline)"


@dataclass(frozen=True)
class Column:
    """The workspace or a revision; `evaluation` is empty where evaluation.json is not to be had,
    for the reason `lacks`."""

    name: str
    params: Json
    metrics: Json
    evaluation: Json
    lacks: str = ""

    @property
    def scale(self) -> Any:
        """The scale that its params.yaml chooses."""
        return self.params.get("scale")

    def value(self, metric: str) -> float | None:
        """The value in metrics.json."""
        found = at(self.metrics, metric)
        return None if found is None else float(found)

    def interval(self, metric: str) -> Json | None:
        """low, high and groups, where evaluation.json is of the same evaluation."""
        section, _, key = metric.rpartition(".")
        same = at(self.evaluation, metric) == self.value(metric)
        return at(self.evaluation, f"{section}.ci.{key}") if same else None

    def reason(self, metric: str) -> str:
        """Why the metric has no value."""
        return at(self.evaluation, f"{metric}_reason") or self.lacks or "not measured"


def compare(revisions: Sequence[str]) -> Json:
    """What --json prints: columns with their metrics, and the parameters that differ.

    The workspace is first; without revisions HEAD and its newest experiments follow. DataError for
    an unknown revision or one without params.yaml.
    """
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            names = list(revisions) or _newest(repo)
            columns = [_workspace(), *(_at(repo, name) for name in names)]
    except NotDvcRepoError:
        cure = "Run the command in the root of the repository."
        raise DataError("This folder is in no DVC repository.", cure) from None
    except DvcException as error:
        raise DataError(f"DVC: {reason_of(error)}", "Ask DVC itself: dvc exp list") from None
    return {
        "columns": [
            {
                "name": column.name,
                "scale": column.scale,
                "missing": column.lacks or None,
                "metrics": {metric: _cell(columns[0], column, metric) for metric in METRICS},
            }
            for column in columns
        ],
        "params": changed([column.params for column in columns]),
    }


def verdict(first: Column, other: Column, metric: str) -> str | None:
    """better, worse or same than the first column; None without an interval or at another scale.

    It is the same when one value is in the interval of the other.
    """
    value, base = other.value(metric), first.value(metric)
    intervals = (first.interval(metric), other.interval(metric))
    if value is None or base is None or not any(intervals) or first.scale != other.scale:
        return None
    pairs = zip((value, base), intervals, strict=True)
    if any(ci and ci["low"] <= one <= ci["high"] for one, ci in pairs):
        return "same"
    return "better" if value > base else "worse"


def changed(trees: Sequence[Json]) -> dict[str, list[Any]]:
    """Parameters that differ, with their value in every tree; of `scales` only the chosen."""
    flat = [_flat(tree) for tree in trees]
    chosen = tuple(f"scales.{tree.get('scale')}." for tree in trees)
    keys = dict.fromkeys(key for tree in flat for key in tree)
    rows = {
        key: [tree.get(key) for tree in flat]
        for key in keys
        if not key.startswith("scales.") or key.startswith(chosen)
    }
    return {key: row for key, row in rows.items() if any(value != row[0] for value in row)}


def render(compared: Json) -> Group:
    """Tables of metrics and of changed parameters, and why metrics or intervals are missing."""
    columns = compared["columns"]
    names = [column["name"] for column in columns]
    table = _table("metrics, compared with the workspace", "metric", names)
    missing: dict[str, list[str]] = {}
    for metric in METRICS:
        cells = [column["metrics"][metric] for column in columns]
        table.add_row(metric, _text(cells[0], True), *(_text(cell) for cell in cells[1:]))
        for column, cell in zip(columns, cells, strict=True):
            if cell["value"] is None and not column["missing"]:
                missing.setdefault(f"{column['name']}: {cell['reason']}", []).append(metric)
    changes = _table("changed parameters", "key", names)
    for key, values in compared["params"].items():
        changes.add_row(key, *("-" if value is None else str(value) for value in values))
    return Group(
        table,
        changes if compared["params"] else "no parameter differs",
        *(f"{one['name']}: no intervals: {one['missing']}" for one in columns if one["missing"]),
        *(f"{why}: {', '.join(metrics)}" for why, metrics in missing.items()),
    )


def _cell(first: Column, column: Column, metric: str) -> Json:
    value, base = column.value(metric), first.value(metric)
    none = column is first or value is None or base is None
    return {
        "value": value,
        "interval": column.interval(metric),
        "difference": None if none else (value or 0) - (base or 0),
        "verdict": None if none else verdict(first, column, metric),
        "reason": column.reason(metric) if value is None else None,
    }


def _text(cell: Json, with_interval: bool = False) -> str:
    if cell["value"] is None:
        return "-"
    text, interval = f"{cell['value']:.4g}", cell["interval"]
    if with_interval and interval:
        text += f"  [{interval['low']:.4g}, {interval['high']:.4g}]"
    if cell["difference"] is not None:
        text += f"  {cell['difference']:+.2g} {cell['verdict'] or ''}"
    return text.rstrip()


def _table(title: str, head: str, names: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(head, no_wrap=True)
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def _newest(repo: Any) -> list[str]:
    """HEAD and the names of its newest experiments, newest first."""
    state = git_state.read(Path(repo.root_dir))
    if state.hindrance:
        raise DataError(f"There is no commit to compare with: {state.hindrance}.", state.cure)
    listed = [pair for found in repo.experiments.ls().values() for pair in found]
    listed.sort(key=lambda pair: repo.scm.resolve_commit(pair[1]).commit_time, reverse=True)
    return ["HEAD", *(name for name, _ in listed[:NEWEST])]


def _workspace() -> Column:
    def read(path: str) -> Json:
        return files.read_json(Path(path), "dvc repro")

    return _column("workspace", params.read(Path("params.yaml")), read)


def _at(repo: Any, name: str) -> Column:
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.scm import RevError, resolve_rev
    from dvc.utils.serialize import load_json, load_yaml

    try:
        revision = resolve_rev(repo.scm, name)
        fs = DVCFileSystem(repo.root_dir, rev=revision)
        tree = load_yaml("params.yaml", fs=fs)
    except RevError:
        raise DataError(f"{name} is neither a revision nor an experiment.", KNOWN) from None
    except (OSError, DvcException) as error:
        raise DataError(f"{name}: params.yaml cannot be read: {reason_of(error)}.", KNOWN) from None

    def read(path: str) -> Json:
        try:
            return dict(load_json(path, fs=fs))
        except (OSError, DvcException) as error:
            gone = "is neither committed nor in DVC's cache or remote"
            gone = gone if isinstance(error, FileNotFoundError) else f": {reason_of(error)}"
            raise DataError(
                f"{path} {gone}.", f"git checkout {revision[:9]} && dvc repro"
            ) from None

    return _column(name, tree, read)


def _column(name: str, tree: Json, read: Callable[[str], Json]) -> Column:
    found: dict[str, Json] = {}
    lacks = ""
    for file in ("evaluation.json", "metrics.json"):
        try:
            found[file] = read(f"artifacts/{tree.get('scale')}/{file}")
        except UserError as error:
            lacks = f"{error.fact} Measure it: {error.cure}"
    return Column(
        name, tree, found.get("metrics.json", {}), found.get("evaluation.json", {}), lacks
    )


def _flat(tree: Json, above: str = "") -> Json:
    """Values by dotted key."""
    flat: Json = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {above + key: value}
    return flat
