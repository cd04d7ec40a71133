"""Photos with labels in YOLO's form, as Ultralytics and Roboflow lay them out.

`data.yaml` names the drugs and the folders of each part; the labels of `images/a.jpg` are lines
`class x y width height` in `labels/a.txt`, in fractions of the upright picture. A line may also be
a polygon (`class x y x y x y ...`), of which the enclosing box is used.
"""

import math
from collections.abc import Container, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pillsnap import files
from pillsnap.aihub.decoding import RefusalError
from pillsnap.dataset.findings import Findings
from pillsnap.errors import DataError, ParameterError
from pillsnap.formats import listing
from pillsnap.formats.labelled import Edges, Labelled, enclosing
from pillsnap.formats.listing import Files

DESCRIPTIONS = ("data.yaml", "dataset.yaml")  # of several, these first
LISTS_OF_NAMES = ("classes.txt", "obj.names", "predefined_classes.txt")
LAYOUT = (
    "Write data.yaml into the data root: `train: images/train`, `val: images/val` and "
    "`names: [drug one, drug two]`. docs/own-photos.md shows the layouts."
)
CENTRED, LEAST_POLYGON = 4, 6  # numbers of a line after its class
BEYOND = 0.01  # fraction of a side that a label may lie outside, by rounding


def read(root: Path, found: Files, findings: Findings) -> Iterator[Labelled]:
    """A description of every picture; those without a label, or an empty one, have no pills."""
    described, folder = _description(root, found)
    names = _names(described)
    is_pose = "kpt_shape" in described
    parts = _parts(root, described, folder, found, findings)
    labels = {image_path: _label_path(image_path, found) for image_path in sorted(parts)}
    used = set(labels.values())
    for path in found:
        if path.endswith(".txt") and "/labels/" in f"/{path}" and path not in used:
            findings.add("label_without_photo", path)
    for image_path, label_path in labels.items():
        part = parts[image_path]
        if label_path is None:
            yield Labelled(image_path, image_path, part, [])
            continue
        try:
            pills = _pills(root, label_path, names, is_pose)
            yield Labelled(image_path, label_path, part, pills)
        except RefusalError as fault:
            yield Labelled(image_path, label_path, part, [], fault=fault)


def description(root: Path, found: Files) -> str:
    """The path of the file that names the drugs; "" if there is none. DataError if several do."""
    yamls = [path for path in found if listing.suffix(path) in (".yaml", ".yml")]
    naming = [path for path in yamls if "names" in _mapping(root / path)]
    naming.sort(key=lambda path: (path.count("/"), _preference(path)))
    first = [path for path in naming if path.count("/") == naming[0].count("/")]
    if len(first) > 1 and _preference(first[0]) == _preference(first[1]):
        raise DataError(
            f"{root} holds several descriptions of a YOLO set: {', '.join(first)}.",
            "Name the one to use data.yaml, or remove the others.",
        )
    lists = (path for path in found if PurePosixPath(path).name in LISTS_OF_NAMES)
    return next(iter([*naming, *lists]), "")


def _preference(path: str) -> int:
    name = PurePosixPath(path).name.lower()
    return DESCRIPTIONS.index(name) if name in DESCRIPTIONS else len(DESCRIPTIONS)


def _mapping(path: Path) -> dict[str, Any]:
    try:
        return files.read_yaml(path, LAYOUT)
    except (DataError, ParameterError):
        return {}


def _description(root: Path, found: Files) -> tuple[dict[str, Any], str]:
    """The content of data.yaml, and its folder."""
    path = description(root, found)
    if not path:
        broken = [one for one in found if listing.suffix(one) in (".yaml", ".yml")]
        if broken:
            files.read_yaml(root / broken[0], LAYOUT)  # says what is wrong, if it is no YAML
        raise DataError(f"{root} holds no data.yaml with the names of the drugs.", LAYOUT)
    folder = path.rpartition("/")[0]
    if listing.suffix(path) in (".yaml", ".yml"):
        return _mapping(root / path), folder
    text = files.read_bytes(root / path, LAYOUT).decode("utf-8-sig", "replace")
    return {"names": [line.strip() for line in text.splitlines() if line.strip()]}, folder


def _names(described: dict[str, Any]) -> dict[int, str]:
    given = described["names"]
    try:
        pairs = given.items() if isinstance(given, dict) else enumerate(given)
        names = {int(number): str(name) for number, name in pairs}
    except (TypeError, ValueError):
        names = {}
    if not names or not all(name.strip() for name in names.values()):
        fact = f"`names` of the YOLO set is {str(given)[:60]!r}: not a list or map of drug names."
        raise DataError(fact, LAYOUT)
    return names


def _parts(
    root: Path, described: dict[str, Any], folder: str, found: Files, findings: Findings
) -> dict[str, str]:
    """Part of each picture; "" where the description names no folder that exists."""
    pictures = listing.pictures(found)
    folders = {path.rpartition("/")[0] for path in pictures}
    folders |= {str(above) for path in folders for above in PurePosixPath(path).parents}
    claims: dict[str, tuple[int, str]] = {}  # picture -> length of the folder's name, part
    for part in ("train", "val", "test"):
        entries = described.get(part) or []
        for entry in entries if isinstance(entries, list) else [entries]:
            path = f"{described.get('path') or ''}/{entry}"
            place = _located(path, folder, folders | found.keys())
            if place is None:
                findings.add("part_missing", f"{part}: {entry} is not in {root}")
                continue
            for path in _pictures_of(root, place, pictures, found):
                known = claims.get(path)
                if known and known[0] == len(place):
                    findings.add("photo_in_two_parts", f"{path}: {known[1]} and {part}")
                elif not known or known[0] < len(place):
                    claims[path] = (len(place), part)
    if not claims:
        return {path: listing.part_of(path) for path in pictures}
    return {path: part for path, (_, part) in claims.items()}


def _located(entry: str, folder: str, known: Container[str]) -> str | None:
    """A path of the description below the root: paths of another machine, or relative to another
    folder (`../train/images` for `train/images`, as Roboflow writes), by their last folders."""
    parts = [part for part in entry.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    for at in range(len(parts)):
        for base in (folder, ""):
            path = "/".join(filter(None, (base, *parts[at:])))
            if path in known:
                return path
    return (folder or ".") if not parts else None


def _pictures_of(root: Path, place: str, pictures: list[str], found: Files) -> list[str]:
    """The pictures in a folder, or those that a text file lists."""
    if place not in found:
        below = "" if place == "." else f"{place}/"
        return [path for path in pictures if path.startswith(below)]
    text = files.read_bytes(root / place, LAYOUT).decode("utf-8-sig", "replace")
    folder = place.rpartition("/")[0]
    listed = (_located(line.strip(), folder, found.keys()) for line in text.splitlines())
    return [path for path in listed if path and listing.suffix(path) in listing.PICTURES]


def _label_path(image_path: str, found: Files) -> str | None:
    """Ultralytics' rule: the last folder `images` becomes `labels`; else beside the picture."""
    stem = f"/{image_path[: -len(listing.suffix(image_path))]}.txt"
    head, folder, tail = stem.rpartition("/images/")
    options = ([f"{head}/labels/{tail}"] if folder else []) + [stem]
    return next((path[1:] for path in options if path[1:] in found), None)


def _pills(
    root: Path, label_path: str, names: dict[int, str], is_pose: bool
) -> list[tuple[str, Edges]]:
    try:
        text = (root / label_path).read_bytes().decode("utf-8-sig", "replace")
    except OSError as error:
        raise RefusalError("label_unreadable", f"{label_path}: {error.strerror}") from None
    pills = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                pills.append(_pill(line.split(), names, is_pose))
            except ValueError as error:
                place = f"{label_path}:{number}: {line.strip()[:60]!r}: {error}"
                raise RefusalError("label_line_invalid", place) from None
    return pills


def _pill(fields: list[str], names: dict[int, str], is_pose: bool) -> tuple[str, Edges]:
    """Drug and box of a line; ValueError says what is wrong."""
    try:
        number, *values = map(float, fields)
    except ValueError:
        raise ValueError("not numbers only") from None
    if number not in names:
        raise ValueError(f"class {fields[0]} is not in names")
    name = names[int(number)]
    if is_pose:  # key points follow the box
        values = values[:CENTRED]
    if not all(map(math.isfinite, values)):
        raise ValueError("a number is not finite")
    if any(not -BEYOND <= value <= 1 + BEYOND for value in values):
        raise ValueError("not fractions of the picture's sides, 0 to 1")
    if len(values) == CENTRED:
        x, y, width, height = values
        return name, (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    if len(values) < LEAST_POLYGON or len(values) % 2:
        raise ValueError(f"{len(values)} numbers after the class: neither a box nor a polygon")
    return name, enclosing(values)
