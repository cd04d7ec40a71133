"""Photos of six drugs drawn in process, written as the forms of other tools lay them out."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import orjson
from PIL import Image

DRUGS = ("타이레놀 500mg", "Vit. C", "K-001900", "red, small", "blue", "white/oval")
COLOURS = (
    (230, 230, 235),
    (240, 200, 60),
    (90, 170, 90),
    (200, 60, 50),
    (70, 90, 200),
    (240, 240, 200),
)
ENDINGS = ((".jpg", "JPEG"), (".png", "PNG"), (".webp", "WEBP"))
ORIENTATION = 0x0112


@dataclass(frozen=True)
class Drawn:
    """A photo as a person sees it: RGB pixels, and drug number and box x y w h of each pill."""

    name: str
    pixels: np.ndarray
    pills: tuple[tuple[int, tuple[int, int, int, int]], ...]

    def drugs(self) -> list[str]:
        return [DRUGS[number] for number, _ in self.pills]


def photos(count: int, seed: int = 3, drugs: int = len(DRUGS)) -> list[Drawn]:
    """Photos of odd sizes: one pill, several drugs, several pills of one drug, and no pill."""
    rng = np.random.default_rng(seed)
    return [_photo(rng, at, drugs) for at in range(count)]


def _photo(rng: np.random.Generator, at: int, drugs: int) -> Drawn:
    width, height = (int(side) for side in rng.integers(150, 240, 2))
    pixels = np.full((height, width, 3), rng.integers(90, 150, 3), np.uint8)
    pixels = np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)
    wanted = {9: [], 1: [at % drugs] * 2, 2: [at % drugs, (at + 1) % drugs, at % drugs]}
    cells = [(0, 0), (1, 0), (0, 1), (1, 1)]
    rng.shuffle(cells)
    pills = []
    for number, (column, row) in zip(wanted.get(at % 10, [at % drugs]), cells, strict=False):
        w, h = int(rng.integers(36, 50)), int(rng.integers(28, 40)) if number % 2 else 40
        x = column * width // 2 + int(rng.integers(4, width // 2 - w))
        y = row * height // 2 + int(rng.integers(4, height // 2 - h))
        centre = (x + w // 2, y + h // 2)
        cv2.ellipse(pixels, centre, (w // 2 - 1, h // 2 - 1), 0, 0, 360, COLOURS[number], -1)
        if number in (0, 5):
            cv2.line(pixels, (x + 8, centre[1]), (x + w - 8, centre[1]), (60, 60, 60), 2)
        pills.append((number, (x, y, w, h)))
    return Drawn(f"IMG {at:03}", pixels, tuple(pills))


def save(photo: Drawn, folder: Path, at: int = 0) -> Path:
    """The photo as JPEG, PNG or WebP; some lie on their side and have an EXIF orientation."""
    folder.mkdir(parents=True, exist_ok=True)
    ending, kind = ENDINGS[at % 3 if at % 4 == 0 else 0]
    picture, exif = Image.fromarray(photo.pixels), Image.Exif()
    if at % 5 == 1:
        picture, exif[ORIENTATION] = picture.transpose(Image.Transpose.ROTATE_90), 6
    path = folder / f"{photo.name}{ending}"
    picture.save(path, kind, exif=exif, **({"quality": 92} if kind == "JPEG" else {}))
    return path


def yolo(root: Path, drawn: list[Drawn], part_of=lambda at: "", names=DRUGS) -> Path:
    """images/ and labels/ with data.yaml; `part_of`: folder of each photo inside them."""
    for at, photo in enumerate(drawn):
        save(photo, root / "images" / part_of(at), at)
        labels = root / "labels" / part_of(at) / f"{photo.name}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        if photo.pills or at % 20 == 9:  # else the label file is missing
            labels.write_text(label_lines(photo))
    parts = [part for part in ("train", "val", "test") if any(root.glob(f"images/{part}"))]
    named = "\n".join(f'  {number}: "{drug}"' for number, drug in enumerate(names))
    listed = "".join(f"{part}: images/{part}\n" for part in parts) or "train: images\nval: images\n"
    (root / "data.yaml").write_text(f"path: ../datasets/pills\n{listed}names:\n{named}\n")
    return root


def label_lines(photo: Drawn) -> str:
    height, width = photo.pixels.shape[:2]
    return "".join(
        f"{number} {(x + w / 2) / width:.6f} {(y + h / 2) / height:.6f} {w / width:.6f} "
        f"{h / height:.6f}\n"
        for number, (x, y, w, h) in photo.pills
    )


def coco(root: Path, drawn: list[Drawn], names=DRUGS) -> Path:
    """images/ and annotations/instances_default.json, as CVAT writes it."""
    images, annotations = [], []
    for at, photo in enumerate(drawn):
        name = save(photo, root / "images", at).name
        height, width = photo.pixels.shape[:2]
        images.append({"id": at, "file_name": name, "width": width, "height": height})
        for number, box in photo.pills:
            mark = {"id": len(annotations), "image_id": at, "category_id": number + 1}
            annotations.append({**mark, "bbox": list(map(float, box)), "iscrowd": 0, "area": 1.0})
    categories = [{"id": number + 1, "name": drug} for number, drug in enumerate(names)]
    tree = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations").mkdir()
    (root / "annotations/instances_default.json").write_bytes(orjson.dumps(tree))
    return root


def imagefolder(root: Path, drawn: list[Drawn]) -> Path:
    """A folder per drug with the photos that show one pill, cut to it. `/` is no part of a name."""
    for at, photo in enumerate(drawn):
        for number, (x, y, w, h) in photo.pills[:1] if len(photo.pills) == 1 else ():
            crop = Drawn(photo.name, photo.pixels[y : y + h, x : x + w].copy(), ())
            save(crop, root / DRUGS[number].replace("/", "-"), at)
    return root
