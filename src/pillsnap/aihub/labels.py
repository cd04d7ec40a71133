"""Parses one label file: code, box and drug, or the reason why it cannot be used.

Light imports only: the worker processes load this module.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from reprlib import repr as shown
from typing import Any, NamedTuple

from pillsnap.aihub.decoding import RefusalError, decode
from pillsnap.dataset.names import CODE, nfc

LARGEST_SIDE_PX = 1 << 20
DRUG_KEYS = (
    "di_edi_code", "dl_name", "item_seq", "drug_shape", "color_class1", "color_class2",
    "print_front", "print_back",
)  # in the order of Drug's fields  # fmt: skip


class DrugFields(NamedTuple):
    """The drug fields of a label as clean text ("" where a field is missing)."""

    edi_codes: str  # joined by |
    drug_name: str
    item_seq: str
    drug_shape: str
    color_class1: str
    color_class2: str
    print_front: str
    print_back: str


class Label(NamedTuple):
    """A valid label: the box in integer pixels, inside the photo."""

    box_x: int
    box_y: int
    box_w: int
    box_h: int
    image_width: int
    image_height: int
    drug: DrugFields


class Expected(NamedTuple):
    """What a label must contain, according to its path."""

    code: str
    file_name: str
    latitude: int  # degrees
    longitude: int  # degrees


@dataclass
class LabelReading:
    """A label, or None and the reason; `notes`: irregularities that do not invalidate it."""

    label: Label | None = None
    reason: str = ""
    detail: str = ""
    notes: list[tuple[str, str]] = field(default_factory=list)


def parse(content: bytes, expected: Expected) -> LabelReading:
    """Parse a label's bytes; never raises."""
    reading = LabelReading()
    try:
        tree = decode(content, reading.notes)
        image = _only(tree, "images")
        _check_identity(image, expected, reading.notes)
        width, height = _side(image, "width"), _side(image, "height")
        if tree.get("annotations") == []:
            raise RefusalError("box_missing", "annotations is empty")
        box = _box(_only(tree, "annotations"), width, height, reading.notes)
        reading.label = Label(*box, width, height, _drug(image, reading.notes))
    except RefusalError as refusal:
        reading.reason, reading.detail = refusal.reason, refusal.detail
    return reading


def _only(tree: dict[str, Any], key: str) -> dict[str, Any]:
    items = tree.get(key)
    if not isinstance(items, list) or not items or not isinstance(items[0], dict):
        raise RefusalError("label_keys_missing", key)
    if len(items) > 1:
        raise RefusalError(f"label_with_several_{key}", f"{len(items)} {key}")
    item: dict[str, Any] = items[0]
    return item


def _check_identity(
    image: dict[str, Any], expected: Expected, notes: list[tuple[str, str]]
) -> None:
    """dl_mapping_code, drug_N and the folder identify a pill; category_id and dl_idx do not."""
    if (
        image.get("dl_mapping_code") == expected.code == image.get("drug_N")
        and image.get("file_name") == expected.file_name
        and image.get("camera_la") == expected.latitude
        and image.get("camera_lo") == expected.longitude
    ):
        return  # nearly always
    named = [key for key in ("dl_mapping_code", "drug_N") if image.get(key) not in (None, "")]
    for key in named:
        if image[key] != expected.code and _code(image[key]) != expected.code:
            raise RefusalError(
                "code_contradiction", f"{key} {shown(image[key])}, path {expected.code}"
            )
    if not named:
        notes.append(("label_without_code", f"code of the path: {expected.code}"))
    file_name = image.get("file_name")
    if isinstance(file_name, str) and nfc(file_name.strip()) != expected.file_name:
        raise RefusalError("label_of_another_photo", f"file_name {shown(file_name)}")
    for key, wanted in (("camera_la", expected.latitude), ("camera_lo", expected.longitude)):
        value = image.get(key)
        if value != wanted and _text(value).lstrip("0") not in ("", str(wanted)):
            notes.append(("view_differs_from_name", f"{key} {shown(value)}, name {wanted}"))


def _code(value: object) -> str:
    text = nfc(value).strip().upper() if isinstance(value, str) else ""
    return text if CODE.fullmatch(text) else ""


def _side(image: dict[str, Any], key: str) -> int:
    value = image.get(key)
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 < value <= LARGEST_SIDE_PX:
        raise RefusalError("frame_size_invalid", f"{key} {shown(value)}")
    return value


def _box(
    annotation: dict[str, Any], width: int, height: int, notes: list[tuple[str, str]]
) -> tuple[int, int, int, int]:
    """x, y, w, h in integer pixels inside the frame."""
    bbox = annotation.get("bbox")
    if not isinstance(bbox, list):
        raise RefusalError(
            "box_missing" if bbox is None else "box_not_a_list", f"bbox {shown(bbox)}"
        )
    if len(bbox) != 4:
        raise RefusalError(
            "box_missing" if not bbox else "box_not_four_numbers", f"bbox {shown(bbox)}"
        )
    x, y, w, h = bbox
    if not type(x) is type(y) is type(w) is type(h) is int:
        x, y, w, h = _rounded(bbox, notes)
    if w <= 0 or h <= 0:
        raise RefusalError("box_without_area", f"bbox {shown(bbox)}")
    if x < 0 or y < 0 or x + w > width or y + h > height:
        raise RefusalError("box_outside_frame", f"bbox {shown(bbox)} in {width} x {height}")
    area = annotation.get("area")
    if area != w * h:
        notes.append(("box_area_differs", f"area {shown(area)}, w x h {w * h}"))
    return x, y, w, h


def _rounded(bbox: list[Any], notes: list[tuple[str, str]]) -> list[int]:
    for value in bbox:
        if not (type(value) is int or (type(value) is float and math.isfinite(value))):
            raise RefusalError("box_not_four_numbers", f"bbox {shown(bbox)}")
    rounded = [round(value) for value in bbox]
    if rounded != bbox:
        notes.append(("box_not_integer", f"bbox {shown(bbox)}"))
    return rounded


def _drug(image: dict[str, Any], notes: list[tuple[str, str]]) -> DrugFields:
    values = [image.get(key) for key in DRUG_KEYS]
    if None in values:
        nulls = (key for key, value in zip(DRUG_KEYS, values, strict=True) if value is None)
        notes.append(("label_with_nulls", ", ".join(nulls)))
    try:
        return _clean_drug(*values)
    except TypeError:  # a list or mapping instead of text is not hashable
        return _clean_drug.__wrapped__(*values)


@lru_cache(maxsize=4096, typed=True)  # a code's labels are alike: 4 times as fast
def _clean_drug(edi_codes: object, *texts: object) -> DrugFields:
    return DrugFields(_edi_codes(edi_codes), *map(_text, texts))


def _edi_codes(value: object) -> str:
    """A comma list as `a|b`, without blanks and duplicates, in the same order."""
    parts = value if isinstance(value, list) else _text(value).split(",")
    codes = [_text(part).replace("|", "").strip() for part in parts]
    return "|".join(Counter(code for code in codes if code))


def _text(value: object) -> str:
    """Clean text in NFC: numbers as digits, null and other types as "", no control characters."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = nfc(str(value)).strip()
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()
