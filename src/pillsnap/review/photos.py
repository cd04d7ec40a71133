"""The pictures that validate made of the labelled photos, for the detector and for the sheet."""

from functools import cached_property
from pathlib import Path

import pandas as pd

from pillsnap.arrays import Pixels
from pillsnap.dataset import manifest, pictures, pixels
from pillsnap.dataset.frames import FrameStore
from pillsnap.errors import DataError
from pillsnap.places import Places
from pillsnap.validation.detection_set import hashed_name


class Photos:
    """The labels of all splits, and a picture of a photo where there is one."""

    def __init__(self, places: Places, root: Path, max_pixels: int) -> None:
        self._places, self._root, self._max_pixels = places, root, max_pixels

    @cached_property
    def labels(self) -> pd.DataFrame:
        """The manifests' rows with a column `split`."""
        of_split = (
            manifest.read(self._places.artifacts_dir / f"manifest_{split}.csv").assign(split=split)
            for split in manifest.SPLITS
        )
        return pd.concat(of_split, ignore_index=True)

    @cached_property
    def _frames(self) -> dict[str, tuple[FrameStore, int]]:
        stores = [FrameStore(self._places.frames(split)) for split in ("val", "test")]
        return {
            path: (store, at)
            for store in stores
            for at, path in enumerate(store.arrow.column("image_path").to_pylist())
        }

    def picture(self, image_path: str, split: str, image_type: str) -> Pixels | None:
        """uint8 RGB of any size: the evaluation frame, the detection picture, or of a combination
        without either (its file name has more codes than labels) the photo itself. None for the
        other single photos: they are read as crops only."""
        if image_path in self._frames:
            store, at = self._frames[image_path]
            return store.decode(at)
        folder, stem = self._places.data_dir / "detection" / "images" / split, Path(image_path).stem
        for name in (hashed_name(image_path), stem):
            if (path := folder / f"{name}.jpg").is_file():
                return pixels.decode(path.read_bytes())
        if image_type == "single" or split == "test":
            return None
        try:
            return pictures.read(self._root / image_path, self._max_pixels).pixels
        except DataError:
            return None  # validate has reported it
