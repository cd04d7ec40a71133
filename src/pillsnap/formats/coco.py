"""Photos with labels in COCO's form: instances JSON files with images, annotations, categories."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from pillsnap import files
from pillsnap.aihub.decoding import RefusalError
from pillsnap.dataset.findings import Findings
from pillsnap.errors import DataError
from pillsnap.formats import listing
from pillsnap.formats.labelled import Edges, Labelled, enclosing
from pillsnap.formats.listing import Files

KEYS = ("images", "annotations", "categories")
LAYOUT = (
    "Put an instances JSON (images, annotations, categories) beside the pictures or into "
    "annotations/, one for all parts or one per part. docs/own-photos.md shows the layouts."
)
Tree = dict[str, Any]


def read(root: Path, found: Files, findings: Findings) -> Iterator[Labelled]:
    """A description of every picture that an instances file lists."""
    by_name = defaultdict[str, list[str]](list)
    for path in listing.pictures(found):
        by_name[PurePosixPath(path).name].append(path)
    used: set[str] = set()
    files_read = list(instances(root, found))
    if not files_read:
        raise DataError(f"{root} holds no JSON file in COCO's form.", LAYOUT)
    for label_path, tree in files_read:
        part = _part_of(label_path)
        names = {one["id"]: str(one["name"]) for one in tree["categories"] if "name" in one}
        marks = defaultdict[Any, list[Tree]](list)
        for mark in tree["annotations"]:
            marks[mark.get("image_id")].append(mark)
        for image in tree["images"]:
            of_image = marks.pop(image.get("id"), [])
            photo = _located(str(image.get("file_name", "")), label_path, part, by_name)
            if photo is None or photo in used:
                reason = "photo_labelled_twice" if photo else "photo_missing"
                findings.add(reason, f"{label_path}: {image.get('file_name')}")
                continue
            used.add(photo)
            of_part = part or listing.part_of(photo)
            yield _labelled(photo, label_path, of_part, image, of_image, names)
        for of_image in marks.values():
            findings.add("annotation_of_no_photo", f"{label_path}: {of_image[0].get('id')}")


def instances(root: Path, found: Files) -> Iterator[tuple[str, Tree]]:
    """Path and content of the instances files."""
    for path in found:
        if listing.suffix(path) != ".json":
            continue
        content = files.read_bytes(root / path, LAYOUT, DataError, files.LARGEST_MODEL_BYTES)
        if not all(b'"%s"' % key.encode() in content for key in KEYS):
            continue
        try:
            tree = orjson.loads(content)
            lists = [tree[key] for key in KEYS]
        except (orjson.JSONDecodeError, LookupError, TypeError):
            continue
        if all(isinstance(items, list) and all(isinstance(item, dict) for item in items)
               for items in lists) and lists[2]:  # fmt: skip
            yield path, tree


def _part_of(label_path: str) -> str:
    """From words of the file's name (instances_train2017.json), else from its folders."""
    words = PurePosixPath(label_path).stem.lower().replace("-", "_").replace(".", "_").split("_")
    named = (listing.PARTS.get(word.rstrip("0123456789")) for word in words)
    return next(filter(None, named), "") or listing.part_of(label_path)


def _located(
    file_name: str, label_path: str, part: str, by_name: dict[str, list[str]]
) -> str | None:
    """The picture of that name whose path agrees longest with file_name, from its end; of several
    those beside the labels or in the part's folder first. None where that is not one."""
    wanted = [piece for piece in file_name.replace("\\", "/").split("/") if piece]
    folder = label_path.rpartition("/")[0]

    def likeness(path: str) -> tuple[int, bool, bool]:
        pairs = zip(reversed(path.split("/")), reversed(wanted), strict=False)
        same = [a == b for a, b in pairs]
        agreed = same.index(False) if False in same else len(same)
        return agreed, path.startswith(f"{folder}/"), listing.part_of(path) == part

    options = sorted(by_name.get(wanted[-1], ()) if wanted else (), key=likeness)
    if len(options) > 1 and likeness(options[-1]) == likeness(options[-2]):
        return None
    return options[-1] if options else None


def _labelled(
    path: str, label_path: str, part: str, image: Tree, marks: list[Tree], names: dict[Any, str]
) -> Labelled:
    size = image.get("width"), image.get("height")
    try:
        if not all(type(side) is int and side > 0 for side in size):
            raise RefusalError("frame_size_invalid", f"{label_path}: {path} is {size}")
        pills = [_pill(mark, names, f"{label_path}: {path}: {mark.get('id')}") for mark in marks]
    except RefusalError as fault:
        return Labelled(path, label_path, part, [], fault=fault)
    return Labelled(path, label_path, part, pills, (size[0] or 0, size[1] or 0))


def _pill(mark: Tree, names: dict[Any, str], place: str) -> tuple[str, Edges]:
    """Drug and box of an annotation; RefusalError says what is wrong."""
    if mark.get("iscrowd"):
        raise RefusalError("crowd_box", f"{place} marks a group of pills")
    if mark.get("category_id") not in names:
        raise RefusalError("category_unknown", f"{place} has category {mark.get('category_id')}")
    box, name = mark.get("bbox"), names[mark["category_id"]]
    polygons = mark.get("segmentation")
    try:
        if not box and isinstance(polygons, list):
            return name, enclosing([float(value) for polygon in polygons for value in polygon])
        x, y, width, height = map(float, box or ())
    except (TypeError, ValueError):
        raise RefusalError("box_not_four_numbers", f"{place} has bbox {str(box)[:40]}") from None
    return name, (x, y, x + width, y + height)
