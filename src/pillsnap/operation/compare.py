"""`pillsnap compare`: ten metrics and the changed parameters of the workspace and of revisions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table

from pillsnap import params
from pillsnap.errors import DataError, reason_of
from pillsnap.files import Json
from pillsnap.operation import git_state
from pillsnap.operation.targets import HEADLINES
from pillsnap.params import at

DETAILS = ("top5", "precision", "recall", "single.pill_f1", "combination.pill_f1")
METRICS = [metric for metric in HEADLINES if not metric.endswith(DETAILS)]
WORKSPACE = "workspace"
NEWEST = 5  # experiments of HEAD that are compared without REV
KNOWN = "List the experiments: dvc exp list -A (commits: git log --oneline)"


def compare(revisions: Sequence[str]) -> Json:
    """What --json prints: the workspace and the revisions (without any: HEAD and its newest
    experiments), and the parameters that differ. DataError for an unknown revision."""
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            names = [WORKSPACE, *(revisions or _newest(repo))]
            trees, columns = zip(*(_read(repo, name) for name in names), strict=True)
    except NotDvcRepoError:
        cure = "Run the command in the root of the repository."
        raise DataError("This folder is in no DVC repository.", cure) from None
    except DvcException as error:
        raise DataError(f"DVC: {reason_of(error)}", "Ask DVC itself: dvc exp list") from None
    first = columns[0]
    for other in columns[1:]:
        for cell, base in zip(other["metrics"].values(), first["metrics"].values(), strict=True):
            if None not in (cell["value"], base["value"]):
                cell["difference"] = cell["value"] - base["value"]
                cell["verdict"] = verdict(cell, base) if other["scale"] == first["scale"] else None
    return {"columns": columns, "params": changed(trees)}


def verdict(cell: Json, base: Json) -> str | None:
    """better, worse, or same: one value is in the interval of the other; None without any."""
    pairs = ((cell["value"], base["interval"]), (base["value"], cell["interval"]))
    if not (cell["interval"] or base["interval"]):
        return None
    if any(ci and ci["low"] <= value <= ci["high"] for value, ci in pairs):
        return "same"
    return "better" if cell["value"] > base["value"] else "worse"


def changed(trees: Sequence[Json]) -> dict[str, list[Any]]:
    """Parameters that differ, with their value in every tree; of `scales` only the chosen."""
    from dvc.utils.flatten import flatten

    flat = [flatten(tree) for tree in trees]
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
    table = _table("metrics, compared with the workspace", "metric", columns)
    lines = [f"{one['name']}: no intervals: {one['missing']}" for one in columns if one["missing"]]
    for metric in METRICS:
        cells = [column["metrics"][metric] for column in columns]
        table.add_row(metric, *map(_text, cells))
        lines += [
            f"{column['name']}: {metric}: {cell['reason']}"
            for column, cell in zip(columns, cells, strict=True)
            if cell["value"] is None and not column["missing"]
        ]
    changes = _table("changed parameters", "key", columns)
    for key, values in compared["params"].items():
        changes.add_row(key, *("-" if value is None else str(value) for value in values))
    return Group(table, changes if compared["params"] else "no parameter differs", *lines)


def _text(cell: Json) -> str:
    """The value with its difference from the workspace, or with its interval."""
    if cell["value"] is None:
        return "-"
    text, interval = f"{cell['value']:.4g}", cell["interval"]
    if cell["difference"] is not None:
        return f"{text}  {cell['difference']:+.2g} {cell['verdict'] or ''}".rstrip()
    return f"{text}  [{interval['low']:.4g}, {interval['high']:.4g}]" if interval else text


def _table(title: str, head: str, columns: Sequence[Json]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(head, no_wrap=True)
    for column in columns:
        table.add_column(column["name"], overflow="fold")
    return table


def _newest(repo: Any) -> list[str]:
    """HEAD and the names of its newest experiments, newest first."""
    state = git_state.read(Path(repo.root_dir))
    if state.hindrance:
        raise DataError(f"There is no commit to compare with: {state.hindrance}.", state.cure)
    listed = [pair for found in repo.experiments.ls().values() for pair in found]
    listed.sort(key=lambda pair: repo.scm.resolve_commit(pair[1]).commit_time, reverse=True)
    return ["HEAD", *(name for name, _ in listed[:NEWEST])]


def _read(repo: Any, name: str) -> tuple[Json, Json]:
    """The parameters and the column of the workspace or of a revision."""
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.scm import RevError, resolve_rev
    from dvc.utils.serialize import load_json, load_yaml

    path = Path(repo.root_dir, "params.yaml")
    try:
        revision = None if name == WORKSPACE else resolve_rev(repo.scm, name)
        fs = DVCFileSystem(repo.root_dir, rev=revision)
        tree = load_yaml(path.name, fs=fs) if revision else params.read(path)
    except RevError:
        raise DataError(f"{name} is neither a revision nor an experiment.", KNOWN) from None
    except (OSError, DvcException) as error:
        raise DataError(f"{name}: params.yaml cannot be read: {reason_of(error)}.", KNOWN) from None
    found, missing = {}, None
    for file in ("evaluation.json", "metrics.json"):
        path = Path("artifacts", str(tree.get("scale")), file)
        try:
            found[file] = load_json(path.as_posix(), fs=fs)
        except (OSError, DvcException) as error:
            absent = " is neither committed nor in DVC's cache or remote"
            why = absent if isinstance(error, FileNotFoundError) else f": {reason_of(error)}"
            there = f"git checkout {revision[:9]} && " if revision else ""
            missing = f"{path}{why}. Measure it: {there}dvc repro"
    cells = {metric: _cell(found, metric, missing) for metric in METRICS}
    return tree, {"name": name, "scale": tree.get("scale"), "missing": missing, "metrics": cells}


def _cell(found: Json, metric: str, missing: str | None) -> Json:
    """The value in metrics.json, and its interval where evaluation.json is of the same run."""
    evaluation, value = found.get("evaluation.json"), at(found.get("metrics.json"), metric)
    section, _, key = metric.rpartition(".")
    cell = {"value": value, "interval": None, "difference": None, "verdict": None, "reason": None}
    if value is None:
        cell["reason"] = at(evaluation, f"{metric}_reason") or missing or "not measured"
    elif at(evaluation, metric) == value:
        cell["interval"] = at(evaluation, f"{section}.ci.{key}")
    return cell
