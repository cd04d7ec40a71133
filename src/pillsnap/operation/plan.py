"""What a `dvc repro` would do: which stages run, which are up to date, and why."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pillsnap.errors import DataError

Tree = Mapping[str, Any]
MOST_REASONS = 3


@dataclass(frozen=True)
class Step:
    """A stage and what becomes of it; `why` is empty for one that is up to date."""

    stage: str
    description: str
    runs: bool
    why: str


def plan(
    pipeline: Tree, status: Mapping[str, Sequence[Any]], params: Tree, changed_keys: Collection[str]
) -> list[Step]:
    """The stages in dvc.yaml's order.

    `pipeline` is dvc.yaml, `status` what `dvc status --json` says, `params` params.yaml with the
    changes applied, `changed_keys` the dotted keys that the run changes.
    """
    steps: list[Step] = []
    made: dict[str, str] = {}
    stages = pipeline.get("stages", {})
    for name in _in_order(stages, params):
        stage = stages[name]
        reasons = _reasons(status.get(name, ()))
        reasons += [f"{key} changed" for key in sorted(changed_keys) if _reads(stage, params, key)]
        reasons += [
            f"{made[out]} runs"
            for dep in _paths(stage, "deps", params)
            for out in made
            if _inside(dep, out)
        ]
        if reasons:
            made |= {out: name for kind in _OUTS for out in _paths(stage, kind, params)}
        why = ", ".join(dict.fromkeys(reasons))
        steps.append(Step(name, str(stage.get("desc", "")), bool(reasons), why))
    return steps


def read_pipeline(path: Path) -> dict[str, Any]:
    """dvc.yaml as a mapping."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"{path} is not here.", "Run the command in the root of the repository."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is not YAML: {error}", "git checkout dvc.yaml restores it."
        ) from None
    return tree if isinstance(tree, dict) else {}


_OUTS = ("outs", "metrics", "plots")


def _reasons(entries: Sequence[Any]) -> list[str]:
    """`dvc status --json` lists, for a stage, texts and {"changed deps": {path: what}}."""
    reasons: list[str] = []
    for entry in entries:
        if isinstance(entry, str):
            reasons.append(entry)
            continue
        for kind, items in entry.items():
            found = _changes(kind, items)
            more = f" and {len(found) - MOST_REASONS} more" if len(found) > MOST_REASONS else ""
            reasons.append(
                f"{kind.removeprefix('changed ')}: {', '.join(found[:MOST_REASONS])}{more}"
            )
    return reasons


def _changes(kind: str, items: Any) -> list[str]:
    if not isinstance(items, Mapping):
        return [str(items)]
    found: list[str] = []
    for path, what in items.items():
        if isinstance(what, Mapping):  # params.yaml: {key: "modified"}
            found += [f"{key} {how}" for key, how in what.items()]
        else:
            found.append(f"{path} {what}")
    return found


def _in_order(stages: Tree, params: Tree) -> list[str]:
    """Stage names so that each comes after those whose outs it reads."""
    waiting, ordered = list(stages), list[str]()
    while waiting:
        outs = {
            out for name in waiting for kind in _OUTS for out in _paths(stages[name], kind, params)
        }
        ready = [
            name
            for name in waiting
            if not any(
                _inside(dep, out) for dep in _paths(stages[name], "deps", params) for out in outs
            )
        ]
        ordered += ready or waiting  # a circle: DVC refuses it with its own words
        waiting = [name for name in waiting if name not in ordered]
    return ordered


def _paths(stage: Tree, kind: str, params: Tree) -> list[str]:
    entries = stage.get(kind) or []
    names = [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
    return [_resolved(name, params).rstrip("/") for name in names]


def _reads(stage: Tree, params: Tree, key: str) -> bool:
    for entry in stage.get("params") or []:
        names = (
            [entry]
            if isinstance(entry, str)
            else [name for names in entry.values() for name in names or ()]
        )
        for name in names:
            name = _resolved(name, params)
            if f"{key}.".startswith(f"{name}.") or f"{name}.".startswith(f"{key}."):
                return True
    return False


def _inside(path: str, out: str) -> bool:
    return f"{path}/".startswith(f"{out}/") or f"{out}/".startswith(f"{path}/")


def _resolved(name: str, params: Tree) -> str:
    return re.sub(r"\$\{([\w.]+)\}", lambda found: str(_at(params, found[1])), name)


def _at(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree
