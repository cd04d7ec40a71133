"""Labels that were edited in another tool: Label Studio's JSON or COCO's, as CVAT writes it."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import orjson

from pillsnap import files
from pillsnap.dataset.frames import FrameStore
from pillsnap.dataset.names import is_code
from pillsnap.errors import DataError
from pillsnap.interchange import frames
from pillsnap.places import Places

Labels = list[tuple[str, tuple[int, ...]]]  # code and box x, y, width, height in whole pixels
Marks = Iterator[tuple[str, list[tuple[str, list[float]]]]]
CURE = "Export it again as JSON (Label Studio) or COCO 1.0 (CVAT), of frames from export-data."


def read(path: Path, places: Places) -> dict[str, Labels]:
    """{image_path: labels} of the frames in a file; DataError where it has neither form, or shows
    other pictures than export-data wrote."""
    try:
        tree = orjson.loads(files.read_bytes(path, CURE))
        marked = list(_label_studio(tree) if isinstance(tree, list) else _coco(tree))
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{path} is no export of labelled frames: {error!r}.", CURE) from None
    known = _exported(places)
    found = {}
    for name, marks in marked:
        if name not in known:
            _refuse(path, name, "is no frame of this data set")
        image_path, size = known[name]
        found[image_path] = [_label(path, name, code, box, size) for code, box in marks]
    return found


def _label_studio(tasks: list[Any]) -> Marks:
    """Boxes are in per cent of the frame; of several annotations the last counts."""
    for task in tasks:
        name = PurePosixPath(task["data"]["image"]).name
        done = [each for each in task["annotations"] if not each.get("was_cancelled")]
        results = done[-1]["result"] if done else []
        marks = []
        for each in results:
            value = each["value"]
            if value.get("rotation"):
                raise ValueError(f"a rotated box in {name}")
            sides = each["original_width"], each["original_height"]
            names = ("x", "y", "width", "height")
            box = [value[key] * sides[at % 2] / 100 for at, key in enumerate(names)]
            marks.append((value["rectanglelabels"][0], box))
        if done:
            yield name, marks


def _coco(tree: dict[str, Any]) -> Marks:
    code_of = {each["id"]: each["name"] for each in tree["categories"]}
    of_image: dict[Any, list[tuple[str, list[float]]]] = {each["id"]: [] for each in tree["images"]}
    for each in tree["annotations"]:
        of_image[each["image_id"]].append((code_of[each["category_id"]], each["bbox"]))
    for each in tree["images"]:
        yield PurePosixPath(each["file_name"]).name, of_image[each["id"]]


def _exported(places: Places) -> dict[str, tuple[str, tuple[int, int]]]:
    """Photo and its size by the name that export-data gives its frame."""
    named = {}
    for split in frames.SPLITS:
        table = FrameStore(places.frames(split)).arrow.select(["image_path", "width", "height"])
        for row in table.to_pylist():
            name = frames.name_of(split, row["image_path"])
            named[name] = row["image_path"], (row["width"], row["height"])
    return named


def _label(
    path: Path, name: str, code: str, box: list[float], size: tuple[int, int]
) -> tuple[str, tuple[int, ...]]:
    if code == frames.UNKNOWN or not is_code(code):
        _refuse(path, name, f"has a label {code!r}, which is no code of a drug")
    x, y, width, height = box
    left, top = max(0, round(x)), max(0, round(y))
    right, bottom = min(size[0], round(x + width)), min(size[1], round(y + height))
    if right <= left or bottom <= top:
        _refuse(path, name, f"has a label {code} without area")
    return code, (left, top, right - left, bottom - top)


def _refuse(path: Path, name: str, fact: str) -> NoReturn:
    raise DataError(f"{path}: {name} {fact}.", CURE)
