"""Corrections of labels: the rows of data/corrections/<scale>.csv, and what each does to a photo.

Labels themselves are never changed. docs/review.md describes columns and actions.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from pillsnap import boxes, files
from pillsnap.dataset.names import is_code
from pillsnap.errors import DataError

FOLDER = Path("data/corrections")
BOX = ("box_x", "box_y", "box_w", "box_h")
COLUMNS = ("image_path", "mapping_code", "action", "new_code", *BOX, "note")
NEEDED_AND_ALLOWED = {  # values of each action, besides image_path and note
    "delete": ({"mapping_code"}, {"box"}),
    "recode": ({"mapping_code", "new_code"}, {"box"}),
    "move": ({"mapping_code", "box"}, set[str]()),
    "add": ({"new_code", "box"}, set[str]()),
    "ok": (set[str](), {"mapping_code", "box"}),
}
ADDED = -1  # number of a pill that no label gave
Box = tuple[int, ...]  # x, y, width, height in pixels of the photo


class Correction(NamedTuple):
    """A row; `box` is empty where it is not given."""

    image_path: str
    mapping_code: str
    action: str
    new_code: str
    box: Box
    note: str
    place: str = ""  # file and line

    def refuse(self, fact: str) -> NoReturn:
        """DataError: what is wrong with this row."""
        file, _, line = self.place.rpartition(":")
        raise DataError(f"{self.place}: {fact}", f"Correct or delete line {line} of {file}.")


class PhotoPill(NamedTuple):
    """A labelled pill of a photo; `number` is the caller's, ADDED for an added one."""

    code: str
    box: Box
    number: int = ADDED


def path_of(scale: str) -> Path:
    """Where the corrections of a scale are."""
    return FOLDER / f"{scale}.csv"


def read(path: Path) -> list[Correction]:
    """The rows of a file, in its order; none where there is no file. DataError names the line."""
    if not path.exists():
        return []
    cure = f"Save it as CSV in UTF-8 with the columns {','.join(COLUMNS)}."
    try:
        text = files.read_bytes(path, cure).decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        lines = [(reader.line_num, line) for line in reader if any(line)]
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8.", cure) from None
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: {error}.", cure) from None
    if not lines or tuple(lines[0][1]) != COLUMNS:
        found = ",".join(lines[0][1]) if lines else "nothing"
        raise DataError(f"{path}: the first line is {found[:200]!r}, not the columns.", cure)
    return [_row(line, f"{path}:{number}") for number, line in lines[1:]]


def write(path: Path, rows: Iterable[Correction]) -> None:
    """Write a file that `read` reads."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        box = row.box or ("",) * len(BOX)
        writer.writerow([*row[:4], *box, row.note])
    files.write_text(path, text.getvalue())


def apply(pills: Sequence[PhotoPill], size: tuple[int, int], row: Correction) -> list[PhotoPill]:
    """The pills of a photo of `size` width, height after one correction; DataError where the row
    fits no label, or more than one."""
    if row.box:
        x, y, width, height = row.box
        if x + width > size[0] or y + height > size[1]:
            row.refuse(f"box {_shown(row.box)} is not inside the photo, {size[0]} x {size[1]} px.")
    if row.action == "ok":
        return list(pills)
    if row.action == "add":
        if any(pill[:2] == (row.new_code, row.box) for pill in pills):
            row.refuse(f"{row.new_code} at {_shown(row.box)} is labelled already.")
        return [*pills, PhotoPill(row.new_code, row.box)]
    at = _labelled(pills, row)
    if row.action == "delete":
        return [*pills[:at], *pills[at + 1 :]]
    changed = (
        pills[at]._replace(box=row.box)
        if row.action == "move"
        else pills[at]._replace(code=row.new_code)
    )
    return [*pills[:at], changed, *pills[at + 1 :]]


def _labelled(pills: Sequence[PhotoPill], row: Correction) -> int:
    """Position of the pill that a row is about: its code, then its box (of `move`: the label with
    the largest overlap with the new box)."""
    fitting = [at for at, pill in enumerate(pills) if pill.code == row.mapping_code]
    if row.action == "move":
        if len(fitting) > 1:
            own = boxes.from_xywh(np.array([pills[at].box for at in fitting]))
            overlap = boxes.iou(own, boxes.from_xywh(np.array([row.box])))[:, 0]
            fitting = [fitting[int(overlap.argmax())]] if overlap.any() else fitting
    elif row.box:
        fitting = [at for at in fitting if pills[at].box == row.box]
    if len(fitting) != 1:
        there = "; ".join(f"{pill.code} at {_shown(pill.box)}" for pill in pills) or "none"
        sought = f"{row.mapping_code} at {_shown(row.box)}" if row.box else row.mapping_code
        many = f"{len(fitting)} labels" if fitting else "No label"
        row.refuse(f"{many} of {row.image_path} fit {sought}; its labels: {there}.")
    return fitting[0]


def _row(line: Sequence[str], place: str) -> Correction:
    path, code, action, new_code, *sides, note = [*line, *[""] * (len(COLUMNS) - len(line))]
    row = Correction(path, code, action, new_code, (), note, place)
    if len(line) != len(COLUMNS):
        row.refuse(f"{len(line)} values instead of {len(COLUMNS)}.")
    if action not in NEEDED_AND_ALLOWED:
        row.refuse(f"action is {action[:40]!r}, not one of {', '.join(NEEDED_AND_ALLOWED)}.")
    if any(sides):
        row = row._replace(box=_box(sides, row))
    needed, allowed = NEEDED_AND_ALLOWED[action]
    needed = needed | {"image_path"}
    columns = ("image_path", "mapping_code", "new_code", "box")
    given = {name for name in columns if getattr(row, name)}
    if needed - given:
        row.refuse(f"{action} needs {', '.join(sorted(needed - given))}.")
    if given - needed - allowed:
        row.refuse(f"{action} takes no {', '.join(sorted(given - needed - allowed))}.")
    for value in filter(None, (code, new_code)):
        if not is_code(value):
            row.refuse(f"{value[:40]!r} is not a K-code or the code of a drug.")
    return row


def _box(sides: Sequence[str], row: Correction) -> Box:
    if not all(side.isascii() and side.isdigit() and len(side) < 8 for side in sides):
        row.refuse(f"box {' '.join(sides)[:60]!r} is not four whole numbers of pixels.")
    box = tuple(map(int, sides))
    if not box[2] or not box[3]:
        row.refuse(f"box {_shown(box)} has no area.")
    return box


def _shown(box: Box) -> str:
    return " ".join(map(str, box))
