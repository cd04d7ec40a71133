"""The detector's data set: a YOLO folder of scaled photos and label files."""

from pathlib import Path

import numpy as np
import xxhash

from pillsnap import files
from pillsnap.arrays import Ints

# No `path` key: Ultralytics 8.4 then uses the folder of the yaml, whatever the working folder.
DATASET_YAML = "train: images/train\nval: images/val\nnames:\n  0: pill\n"


class DetectionWriter:
    """Writes the YOLO folder under a temporary name; `finish` moves it into place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._temporary = folder.with_name(f".{folder.name}.tmp")
        files.remove_folder(self._temporary)
        self._names: set[str] = set()
        for split in ("train", "val"):
            for kind in ("images", "labels"):
                (self._temporary / kind / split).mkdir(parents=True)

    def add(
        self, split: str, image_path: str, jpeg: bytes, boxes_xywh: Ints, size: tuple[int, int]
    ) -> None:
        """Write a photo, scaled down, and its label file (class 0; centre and size relative to the
        photo); `boxes_xywh` [n, 4] and `size` (width, height) in pixels of the whole photo."""
        name = self._name_of(image_path)
        (self._temporary / "images" / split / f"{name}.jpg").write_bytes(jpeg)
        label = self._temporary / "labels" / split / f"{name}.txt"
        label.write_text(label_text(boxes_xywh, *size), encoding="ascii")

    def finish(self) -> None:
        """Replace the old data set, if any, by this one."""
        files.write_text(self._temporary / "dataset.yaml", DATASET_YAML)
        files.remove_folder(self.folder)
        self._temporary.rename(self.folder)

    def _name_of(self, image_path: str) -> str:
        """The photo's stem; with a hash where it is not ASCII, too long or taken."""
        name = Path(image_path).stem
        if not name.isascii() or len(name) > 200 or name in self._names:
            name = hashed_name(image_path)
        self._names.add(name)
        return name


def hashed_name(image_path: str) -> str:
    """A photo's name in the set where its stem is not ASCII, too long or another photo's."""
    plain = Path(image_path).stem.encode("ascii", "ignore").decode()[:200]
    return f"{plain}-{xxhash.xxh3_64_hexdigest(image_path.encode())}"


def label_text(boxes_xywh: Ints, width: int, height: int) -> str:
    """YOLO lines `0 centre_x centre_y width height`, relative to the frame's size."""
    boxes = np.asarray(boxes_xywh, dtype=np.float64).reshape(-1, 4)
    scale = np.array([width, height, width, height])
    centred = np.hstack([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]]) / scale
    return "".join(f"0 {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n" for x, y, w, h in centred)
