"""Refusals of params.yaml: key, value, what it must be, the comment, the key that was meant."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pillsnap.errors import ParameterError

CURE = (
    "Every key and its legal values are commented in params.yaml. `git diff params.yaml` shows "
    "what was changed, `pillsnap train --back` takes it back."
)
MUST_BE = {  # by pydantic's type of error; {names} are of its context
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a text",
    "finite_number": "a finite number",
    "model_type": "keys and values",
    "dict_type": "keys and values",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "literal_error": "{expected}",
    "string_pattern_mismatch": "as its comment says",
}


def refusal(error: ValidationError, tree: Mapping[str, Any], path: Path) -> ParameterError:
    """The error that names every key of `tree` that cannot be used; `path` holds the comments."""
    wrong: dict[str, list[str]] = {}  # by key and value: what it must be; unions have several
    unknown, missing, lines = list[str](), list[str](), list[str]()
    for item in error.errors():
        key = ".".join(map(str, item["loc"]))
        if item["type"] == "extra_forbidden":
            unknown.append(key)
        elif item["type"] == "missing":
            missing.append(key)
        elif item["type"] == "value_error":  # of a validator of ours, which names its keys
            lines.append(f"  {item['msg'].removeprefix('Value error, ')}")
        else:
            must = MUST_BE.get(item["type"], item["msg"]).format_map(item.get("ctx") or {})
            place = f"{_in_file(key, tree)} is {_shown(item['input'])}"
            wrong.setdefault(place, []).append(must.replace("'", ""))
    known = [key for key in _keys(tree) if key not in unknown]
    for key in unknown:
        meant = get_close_matches(key, [*missing, *known], 1)
        lines.append(f"  {key} is no key" + (f"; did you mean {meant[0]}?" if meant else ""))
        missing = [name for name in missing if name not in meant]
    lines += [f"  {key} is missing" for key in missing]
    for place, parts in wrong.items():
        lines.append(f"  {place}: must be {' or '.join(dict.fromkeys(parts))}")
        comment = _comment(place.partition(" ")[0], path)
        lines += [f"    # {comment}"] if comment else []
    return ParameterError(f"{path} cannot be used:\n" + "\n".join(lines), CURE)


def no_root(scale: str) -> ParameterError:
    """The error of a scale whose photos are nowhere."""
    return ParameterError(
        f"No data root: PILLSNAP_DATA_ROOT is not set and data.root is null at scale {scale}.",
        "export PILLSNAP_DATA_ROOT=/path/to/the/download (as AI Hub leaves it, or the folder that "
        "holds train/ and val/), run `pillsnap fingerprint`, then repeat the command. "
        "Back to the committed params.yaml: pillsnap train --back",
    )


def no_photos(path: Path, is_drawn: bool) -> ParameterError:
    """The error of a data root that is no folder; of the demo's, that was not drawn yet."""
    if is_drawn:
        return ParameterError(f"The demo's photos are not in {path}.", "python3 run.py demo")
    return ParameterError(
        f"The data root {path} is not a folder.",
        "Set PILLSNAP_DATA_ROOT (or data.root) to AI Hub's download as it is, or to the folder "
        "that holds train/ and val/.",
    )


def _in_file(key: str, tree: Mapping[str, Any]) -> str:
    """The key without the names that pydantic gives to the members of a union."""
    return max((name for name in _keys(tree) if f"{key}.".startswith(f"{name}.")), key=len)


def _keys(tree: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """All dotted keys, sections included."""
    for name, value in tree.items():
        yield f"{above}{name}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{above}{name}.")


def _shown(value: Any) -> str:
    """A value as YAML writes it, cut to 60 characters."""
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else f"{value!r:.60}"


def _comment(key: str, path: Path) -> str:
    """The comment of a key, its continuation lines included; those of scales are at the first."""
    *above, name = map(re.escape, key.split("."))
    section = rf"{above[0]}:.*(?:\n(?!\w).*)*?\n +" if above else ""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = re.search(rf"(?m)^{section}{name}:[^#\n]*# (.*(?:\n +# .*)*)", text)
    return re.sub(r"\n +# ", " ", found[1]) if found else ""
