"""Which keys of params.yaml a run changes, and the parameters that come of it."""

import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from pillsnap.errors import ParameterError


def of(wanted: Mapping[str, Any], tree: Mapping[str, Any]) -> dict[str, Any]:
    """The wanted values that differ from what is in force (a null one is the scale's)."""
    scale = wanted.get("scale", tree.get("scale"))
    return {
        key: value for key, value in wanted.items() if not _same(in_force(tree, key, scale), value)
    }


def applied(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the tree with the changes in it; ParameterError where a key's section is absent."""
    changed: dict[str, Any] = deepcopy(dict(tree))
    for key, value in changes.items():
        *sections, name = key.split(".")
        place: Any = changed
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            known = ", ".join(tree.get("scales") or ()) or "none"
            raise ParameterError(
                f"params.yaml has no section {'.'.join(sections)}; known scales are {known}.",
                "Name one of them: --scale demo",
            )
        place[name] = value
    return changed


def in_force(tree: Mapping[str, Any], key: str, scale: Any) -> Any:
    """The value at a dotted key; for train.lr that is null, the scale's."""
    value: Any = tree
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if value is None and key == "train.lr":
        return in_force(tree, f"scales.{scale}.lr", scale)
    return value


def as_settings(changes: Mapping[str, Any]) -> list[str]:
    """`-S key=value` for each change, as `dvc exp run` (Hydra's grammar) reads it."""
    return [part for key, value in changes.items() for part in ("-S", f"{key}={_written(value)}")]


def _written(value: Any) -> str:
    if isinstance(value, str) and not re.fullmatch(r"[\w./-]+", value):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    return str(value)


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, float):
        try:
            return float(found) == wanted  # DVC writes 3e-05, which YAML 1.1 reads as text
        except (TypeError, ValueError):
            return False
    return bool(found == wanted)
