"""Which keys of params.yaml a run changes, and the parameters with them."""

import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from pillsnap import params
from pillsnap.errors import ParameterError

Changes = dict[str, Any]  # value by dotted key


def of(wanted: Mapping[str, Any], tree: Mapping[str, Any]) -> Changes:
    """The wanted values that differ from the current ones; None: not wanted, keep the current."""
    scale = wanted.get("scale") or tree.get("scale")
    now = {key: params.at(tree, key) for key in wanted}
    if "train.lr" in now and now["train.lr"] is None:
        now["train.lr"] = params.at(tree, f"scales.{scale}.lr")
    return {key: value for key, value in wanted.items() if value not in (None, now[key])}


def applied(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the tree with the changes in it; ParameterError where a key's section is absent."""
    changed: dict[str, Any] = deepcopy(dict(tree))
    for key, value in changes.items():
        above, _, name = key.rpartition(".")
        section = params.at(changed, above) if above else changed
        if not isinstance(section, dict):
            known = ", ".join(tree.get("scales") or ()) or "none"
            raise ParameterError(
                f"params.yaml has no section {above}; known scales are {known}.",
                "Name one of them: --scale demo",
            )
        section[name] = value
    return changed


def as_settings(changes: Mapping[str, Any]) -> list[str]:
    """`-S key=value` for each change, as `dvc exp run` (Hydra's grammar) reads it."""
    return [part for key, value in changes.items() for part in ("-S", f"{key}={_written(value)}")]


def _written(value: Any) -> str:
    if isinstance(value, str) and not re.fullmatch(r"[\w./-]+", value):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    return str(value)
