"""Makes small manifests and their photos for tests of validate: 28 photos, three classes.

    photos = make(tmp_path); photos.run(); photos.check("photo_damaged")

Change `photos.rows` (a row per pill, with a column `split`) and call `photos.write()`, or damage a
photo (`photos.path(...)`), then run again.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import cv2
import numpy as np
import pandas as pd

from pillsnap import params
from pillsnap.dataset import manifest
from pillsnap.params import Params
from pillsnap.validation.validate import ValidationPaths, validate

WIDTH, HEIGHT = 120, 160
CODES = ("K-000001", "K-000002", "K-000003")
PARAMS = Path(__file__).parents[2] / "params.yaml"
CELLS = ((8, 10), (66, 84), (64, 8), (6, 90))


@dataclass
class RecordedLog:
    lines: list[str] = field(default_factory=list)

    def info(self, message: str) -> None:
        self.lines.append(message)

    def progress(self, step: int, total: int) -> None:
        pass


@dataclass
class PhotoSet:
    base: Path
    params: Params
    rows: pd.DataFrame
    log: RecordedLog = field(default_factory=RecordedLog)

    @property
    def places(self) -> ValidationPaths:
        return ValidationPaths(
            *(self.base / name for name in ("root", "artifacts", "data", "work"))
        )

    def path(self, image_path: str) -> Path:
        return self.base / "root" / image_path

    def photo(self, split: str, image_type: str = "single", number: int = 0) -> str:
        chosen = self.rows[(self.rows["split"] == split) & (self.rows["image_type"] == image_type)]
        return str(sorted(set(chosen["image_path"]))[number])

    def write(self) -> None:
        for split in manifest.SPLITS:
            part = self.rows[self.rows["split"] == split]
            manifest.write(self.base / "artifacts" / f"manifest_{split}.csv", part)
        classes = pd.DataFrame("", index=range(len(CODES)), columns=list(manifest.CLASS_COLUMNS))
        classes = classes.assign(
            class_index=range(len(CODES)), mapping_code=CODES, train_pills=1, val_pills=1
        )
        manifest.write_classes(self.base / "artifacts" / "classes.csv", classes)

    def run(self, log: Any = None, **changes: Any) -> dict[str, float | None]:
        self.log = RecordedLog()
        return validate(self.places, self.with_(**changes), log or self.log)

    def with_(self, **changes: Any) -> Params:
        """The parameters with other values of `validate`."""
        changed = self.params.validate_.model_copy(update=changes)
        return self.params.model_copy(update={"validate_": changed})

    @property
    def decoded(self) -> int:
        [line] = [line for line in self.log.lines if "read in this run" in line]
        return int(line.split(", ")[1].split()[0])

    def verdict(self) -> dict[str, Any]:
        return dict(json.loads((self.base / "artifacts/validation.json").read_text("utf-8")))

    def check(self, name: str) -> dict[str, Any]:
        [found] = [check for check in self.verdict()["checks"] if check["name"] == name]
        return dict(found)

    def rejected(self) -> list[tuple[str, str]]:
        """Path and name of the check in each line of rejected.csv."""
        table = pd.read_csv(self.base / "artifacts" / "rejected.csv", keep_default_na=False)
        return [(path, reason.partition(":")[0]) for path, reason in table.itertuples(index=False)]

    def outs(self) -> dict[str, bytes]:
        data = self.base / "data"
        paths = [path for path in sorted(data.rglob("*")) if path.is_file()]
        return {path.relative_to(data).as_posix(): path.read_bytes() for path in paths}


def make(base: Path, *, many: int = 0) -> PhotoSet:
    """A valid set of photos; `many` adds that many single photos to train."""
    rows: list[dict[str, Any]] = []
    for number, code in enumerate(CODES):
        for group in range(2):
            rows += [row for i in range(2) for row in shot((code,), "train", group, i * 20)]
        rows += [row for i in range(2) for row in shot((code,), "val", 2, i * 20)]
        rows += [row for i in range(many // 3) for row in shot((code,), "train", number, 40 + i)]
    for latitude in (70, 75):
        rows += shot(CODES[:2], "train", 2, 0, latitude)
        rows += shot(CODES, "train", 2, 0, latitude)
        rows += shot(CODES[1:], "val", 2, 0, latitude)
        rows += shot((CODES[0], CODES[2]), "test", 2, 0, latitude)
        rows += shot(("K-000009",), "test", 2, latitude, latitude)
    table = pd.DataFrame(rows)
    for path, pills in table.groupby("image_path"):
        draw(base / "root" / str(path), pills)
    for path in table["label_path"]:
        label = base / "root" / path
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("{}")
    made = PhotoSet(base, params_for(table), table)
    made.write()
    return made


def params_for(rows: pd.DataFrame) -> Params:
    """The demo's parameters with the counts of these rows and small pictures."""
    loaded = params.load(PARAMS)
    drawn = rows[rows["split"] != "test"]
    shares = {
        "combination_share": float((drawn["image_type"] == "combination").mean()),
        "val_share": float((drawn["split"] == "val").mean()),
    }
    small = {
        "samples": len(drawn), "classes": len(CODES), "min_train_per_class": 2,
        "min_val_per_class": 2, "detection_single_frames": 3, "evaluation_frames": 4,
        "crop_px": 32, "frame_px": 80,
    }  # fmt: skip
    limits = {"num_workers": 1, "max_rejected": 0.5, "max_pixels": 10**6}
    scale = loaded.at_scale.model_copy(update=small | shares)
    limited = loaded.validate_.model_copy(update=limits)
    return loaded.model_copy(update={"scales": {"demo": scale}, "validate_": limited})


def shot(
    codes: tuple[str, ...], split: str, light: int, longitude: int, latitude: int = 90
) -> list[dict[str, Any]]:
    kind = "single" if len(codes) == 1 else "combination"
    name = "-".join([codes[0], *(code[2:] for code in codes[1:])])
    part = "val" if split == "test" else "train"
    stem = f"{name}_0_2_0_{light}_{latitude}_{longitude:03d}_200"
    shard = f"{'V' if part == 'val' else 'T'}S_1_{kind}"
    folder = f"{part}/images/{kind}/{shard}/{name}/{split}"
    same_for_all = {
        "image_path": f"{folder}/{stem}.png", "image_type": kind,
        "edi_codes": "643303740|A01200351", "drug_name": "테라싸이클린캡슐 250mg", "box_h": 50,
        "image_width": WIDTH, "image_height": HEIGHT, "drug_state": 0, "back": 2,
        "direction": 0, "light": light, "latitude": latitude, "longitude": longitude,
        "group_id": f"{name}_{light}_{split}", "part": part, "shard": shard, "split": split,
    }  # fmt: skip
    return [
        {
            **same_for_all,
            "label_path": f"{part}/labels/{kind}/{shard}/{name}_json/{code}/{stem}.json",
            "mapping_code": code,
            "class_index": CODES.index(code) if code in CODES else -1,
            "known": code in CODES,
            "box_x": CELLS[place][0],
            "box_y": CELLS[place][1],
            "box_w": 40 + int(code[-1]),
        }
        for place, code in enumerate(codes)
    ]


def pack(photos: PhotoSet) -> None:
    root = photos.places.root
    for shard in [path for path in root.glob("*/*/*/*") if path.is_dir()]:
        with ZipFile(shard.with_name(f"{shard.name}.zip"), "w", 8) as archive:
            for path in sorted(shard.rglob("*.*")):
                archive.write(path, path.relative_to(shard))
                path.unlink()
    for column in ("image_path", "label_path"):
        changed = photos.rows[column].str.replace(
            r"((?:[^/]*/){3}[^/]*)", r"\1.zip", n=1, regex=True
        )
        photos.rows[column] = changed
    photos.write()


def draw(path: Path, pills: pd.DataFrame) -> None:
    seed = np.frombuffer(path.name.encode() + path.parent.name.encode(), dtype=np.uint8)
    chance = np.random.default_rng(seed)
    frame = np.full((HEIGHT, WIDTH, 3), 215, dtype=np.int16)
    for row in pills.itertuples():
        colour = 40 + 60 * np.eye(3, dtype=np.int16)[int(str(row.mapping_code)[-1]) % 3]
        box = frame[row.box_y : row.box_y + row.box_h, row.box_x : row.box_x + row.box_w]
        box[:] = colour
        texture = chance.integers(-38, 38, (5, 5, 1), dtype=np.int16).repeat(10, 0).repeat(12, 1)
        box += texture[: box.shape[0], : box.shape[1]]
    frame += chance.integers(-4, 5, frame.shape, dtype=np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.clip(frame, 0, 255).astype(np.uint8)
    assert cv2.imwrite(str(path), np.ascontiguousarray(pixels[..., ::-1]))
