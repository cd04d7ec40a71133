"""A label file in AI Hub's format: one pill of one photo, 47 to 49 keys and its box."""

import json
from typing import Any

from pillsnap.dataset.names import View
from pillsnap.demo.photos import Box
from pillsnap.demo.pills import DrawnPill

BACK_WORDS = (
    "남색 배경",
    "연녹색 배경",
    "연회색 배경",
    "책상",
)  # the data sheet has only the third
SIDE_WORDS = ("앞면", "뒷면")
LIGHT_WORDS = ("전구색", "주광색", "주백색", "휴대폰")
NULL_IN_BARE = (  # 18 fields that are null together in the labels of some codes
    "dl_name_en", "dl_material_en", "dl_company_en", "di_company_mf", "di_company_mf_en",
    "di_item_permit_date", "di_class_no", "di_etc_otc_code", "di_edi_code", "chart", "thick",
    "leng_long", "leng_short", "color_class2", "line_front", "line_back", "form_code_name",
    "change_date",
)  # fmt: skip


def label_bytes(
    stem: str, pill: DrawnPill, view: View, box: Box, width_px: int, height_px: int
) -> bytes:
    """The label's content as UTF-8 JSON; `box` is (x, y, w, h) in px."""
    x, y, w, h = box
    image: dict[str, Any] = {
        "file_name": f"{stem}.png",
        "width": width_px,
        "height": height_px,
        "imgfile": f"{stem}.png",
        "drug_N": pill.code,
        "drug_S": "정상알약",
        "back_color": BACK_WORDS[view.back],
        "drug_dir": SIDE_WORDS[view.direction],
        "light_color": LIGHT_WORDS[view.light],
        "camera_la": view.latitude,
        "camera_lo": view.longitude,
        "size": view.size,
        **pill.drug.fields,
        "chart": f"{', '.join(pill.look.colors)}의 {pill.look.shape} {pill.form}",
        **_look_fields(pill),
        "id": 1,
    }
    if pill.drug.bare:
        image.update(dict.fromkeys(NULL_IN_BARE))
    annotation = {"area": w * h, "iscrowd": 0, "bbox": [x, y, w, h], "category_id": 1}
    annotation |= {"ignore": 0, "segmentation": [], "id": 1, "image_id": 1}
    label = {
        "images": [image],
        "type": "instances",
        "annotations": [annotation],
        "categories": [{"supercategory": "pill", "id": 1, "name": "Drug"}],
    }
    return json.dumps(label, ensure_ascii=False).encode("utf-8")


def _look_fields(pill: DrawnPill) -> dict[str, Any]:
    front, back = pill.imprints
    fields: dict[str, Any] = {
        "drug_shape": pill.look.shape,
        "thick": _shortest(pill.thick_mm),
        "leng_long": _shortest(pill.long_mm),
        "leng_short": _shortest(pill.short_mm),
        "print_front": front.text,
        "print_back": back.text,
        "color_class1": pill.look.colors[0],
        "color_class2": pill.look.colors[1] if len(pill.look.colors) > 1 else "",
        "line_front": "-" if front.line else "",
        "line_back": "-" if back.line else "",
        "img_regist_ts": "20210101",
        "form_code_name": pill.form,
        **_marks(pill),
    }
    if front.mark is not None:
        fields["mark_code_front"] = f"M{front.mark:04d}"
    elif back.mark is not None:
        fields["mark_code_back"] = f"M{back.mark:04d}"
    if pill.drug.change_date is not None:
        fields["change_date"] = pill.drug.change_date
    return fields


def _shortest(value: float) -> int | float:
    return int(value) if value == int(value) else value


def _marks(pill: DrawnPill) -> dict[str, str]:
    return {
        f"mark_code_{side}_{kind}": "" if imprint.mark is None else text.format(imprint.mark)
        for kind, text in (("anal", "로고"), ("img", "http://pill.invalid/mark/{}.jpg"))
        for side, imprint in zip(("front", "back"), pill.imprints, strict=True)
    }
