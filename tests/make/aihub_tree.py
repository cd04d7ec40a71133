"""Writes small AI Hub trees for tests: every path, name and label key as on a real disk.

    write_tree(root, codes=["K-000001", "K-000002"], combos=[("K-000001", "K-000002")])

Damage is done afterwards: `photo_path`, `label_path` and `edit_label` find and change one file.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson

FULL_SIZE = (976, 1280)
DIRECTIONS = ("앞면", "뒷면")
LIGHTS = ("전구색", "주광색", "주백색")
BACKS = ("파란색 배경", "회색 배경", "연회색 배경")
VIEWS = [(la, lo) for lo in range(0, 360, 20) for la in (75, 70, 90, 60)]  # the 72 of a group
SHARD_OF_PART = {"train": ("TS", "TL"), "val": ("VS", "VL")}


@dataclass(frozen=True)
class Shot:
    """One photo: its codes (several: a combination) and the fields of its file name."""

    codes: tuple[str, ...]
    back: int = 2
    direction: int = 0
    light: int = 2
    latitude: int = 70
    longitude: int = 0
    part: str = "train"
    shard: int = 1
    size: tuple[int, int] = FULL_SIZE
    labelled: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """K-000114, or K-000001-000002 for a combination."""
        return "-".join([self.codes[0], *(code.removeprefix("K-") for code in self.codes[1:])])

    @property
    def stem(self) -> str:
        view = f"{self.back}_{self.direction}_{self.light}_{self.latitude}_{self.longitude:03d}"
        return f"{self.name}_0_{view}_200"

    @property
    def type(self) -> str:
        return "single" if len(self.codes) == 1 else "combination"


def write_tree(
    root: Path,
    codes: Iterable[str] = (),
    *,
    photos_per_group: int = 2,
    combos: Iterable[tuple[str, ...]] = (),
    val_codes: Iterable[str] = (),
    val_combos: Iterable[tuple[str, ...]] = (),
) -> list[Shot]:
    """Write train/ (codes, combos) and val/ (val_codes, val_combos) under root; return the shots.

    A code gets 18 groups of photos_per_group photos, which differ in latitude and longitude; a
    combination gets 3 photos. For data/train pass root/"data".
    """
    shots = [
        Shot((code,), back, direction, light, *view, part=part)
        for part, members in (("train", codes), ("val", val_codes))
        for code in members
        for back, light, direction in itertools.product(range(3), range(3), range(2))
        for view in VIEWS[:photos_per_group]
    ]
    shots += [
        Shot(tuple(sorted(combo)), latitude=latitude, part=part)
        for part, members in (("train", combos), ("val", val_combos))
        for combo in members
        for latitude in (70, 75, 90)
    ]
    for shot in shots:
        write_shot(root, shot)
    return shots


def write_shot(root: Path, shot: Shot) -> None:
    """Write a photo and its label per pill (only of `shot.labelled` where that is given)."""
    path = photo_path(root, shot)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(shot.stem.encode())
    for code in shot.codes if shot.labelled is None else shot.labelled:
        target = label_path(root, shot, code)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(orjson.dumps(label_of(shot, code)))


def photo_path(root: Path, shot: Shot) -> Path:
    folder = root / shot.part / "images" / shot.type / _shard(shot, 0)
    return folder / shot.name / f"{shot.stem}.png"


def label_path(root: Path, shot: Shot, code: str | None = None) -> Path:
    """Where the label of one of a shot's pills is (of the first without `code`)."""
    folder = root / shot.part / "labels" / shot.type / _shard(shot, 1) / f"{shot.name}_json"
    if shot.type == "combination":
        folder = folder / (code or shot.codes[0])
    return folder / f"{shot.stem}.json"


def edit_label(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    label = orjson.loads(path.read_bytes())
    change(label)
    path.write_bytes(orjson.dumps(label))


def box_of(shot: Shot, code: str) -> tuple[int, int, int, int]:
    """A pill's box x, y, w, h in pixels: one of four cells of the frame, no two overlap."""
    width, height = shot.size
    cell_w, cell_h = width // 2, height // 2
    cell = 0 if shot.type == "single" else shot.codes.index(code) % 4
    seed = crc32(f"{shot.stem}{code}".encode())
    box_w = cell_w // 2 + seed % (cell_w // 8)
    box_h = cell_h // 2 + seed // 7 % (cell_h // 8)
    left = cell % 2 * cell_w + seed // 49 % (cell_w - box_w)
    top = cell // 2 * cell_h + seed // 343 % (cell_h - box_h)
    return left, top, box_w, box_h


def label_of(shot: Shot, code: str) -> dict[str, Any]:
    x, y, w, h = box_of(shot, code)
    box = {"area": w * h, "iscrowd": 0, "bbox": [x, y, w, h], "category_id": 1, "ignore": 0}
    return {
        "images": [_image_of(shot, code)],
        "type": "instances",
        "annotations": [{**box, "segmentation": [], "id": 1, "image_id": 1}],
        "categories": [{"supercategory": "pill", "id": 1, "name": "Drug"}],
    }


def _image_of(shot: Shot, code: str) -> dict[str, Any]:
    number = int(code.removeprefix("K-"))
    view = {
        "file_name": f"{shot.stem}.png", "width": shot.size[0], "height": shot.size[1],
        "imgfile": f"{shot.stem}.png", "drug_N": code, "drug_S": "정상알약",
        "back_color": BACKS[shot.back], "drug_dir": DIRECTIONS[shot.direction],
        "light_color": LIGHTS[shot.light], "camera_la": shot.latitude,
        "camera_lo": shot.longitude, "size": 200,
    }  # fmt: skip
    drug = {
        "dl_idx": str(number - 1), "dl_mapping_code": code, "dl_name": f"시험정 {number}밀리그램",
        "dl_name_en": f"Test Tab. {number}mg", "img_key": f"http://example.invalid/{number}",
        "dl_material": "시험성분", "dl_material_en": "Testine", "dl_custom_shape": "정제, 저작정",
        "dl_company": "시험제약(주)", "dl_company_en": "Test Pharm", "di_company_mf": "",
        "di_company_mf_en": "", "item_seq": 196_000_000 + number, "di_item_permit_date": "19600101",
        "di_class_no": "[06150]주로 그람양성", "di_etc_otc_code": "전문의약품",
        "di_edi_code": f"{643_000_000 + number},A{number:08d}", "chart": "시험용 알약이다.",
        "drug_shape": ("원형", "타원형", "장방형")[number % 3], "thick": 6.35, "leng_long": 17.6,
        "leng_short": 6.2, "print_front": f"P{number}", "print_back": "마크분할선ST",
        "color_class1": ("하양", "노랑", "분홍")[number % 3], "color_class2": "",
        "line_front": "", "line_back": "-", "img_regist_ts": "20200101",
        "form_code_name": "필름코팅정", "mark_code_front_anal": "", "mark_code_back_anal": "",
        "mark_code_front_img": "", "mark_code_back_img": "", "mark_code_front": "",
        "mark_code_back": "", "change_date": "20200313", "id": 1,
    }  # fmt: skip
    return view | drug


def _shard(shot: Shot, kind: int) -> str:
    ending = "single" if shot.type == "single" else "combo"
    return f"{SHARD_OF_PART[shot.part][kind]}_{shot.shard}_{ending}"
