"""The sheet of suspects: one HTML file with its pictures inside, which answers as a CSV."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pillsnap.arrays import Pixels
from pillsnap.dataset import manifest, pixels
from pillsnap.dataset.crops import CropStore
from pillsnap.manifest.corrections import BOX, COLUMNS, Box
from pillsnap.places import Places
from pillsnap.recognition.recogniser import Recogniser
from pillsnap.review.photos import Photos
from pillsnap.review.suspects import Crops, Suspect
from pillsnap.stage import page

CROP_PX, PHOTO_PX, EXAMPLE_PX = 160, 320, 96  # longest sides on the sheet
QUALITY = 80


class Sheet:
    """Draws suspects."""

    def __init__(
        self, recogniser: Recogniser, places: Places, photos: Photos, crops: Crops
    ) -> None:
        self._recogniser, self._photos, self._scale = recogniser, photos, places.scale
        self._stores = {split: CropStore(places.crops(split)) for split in manifest.SPLITS}
        rows = crops.rows.assign(doubt=crops.doubt)
        places_of = zip(rows["split"], rows["row"], strict=True)
        keys = rows[["image_path", "mapping_code", *BOX]].itertuples(index=False, name=None)
        self._crop_of = dict(zip(keys, places_of, strict=True))
        best = rows[rows["split"] == "train"].sort_values("doubt", kind="stable")
        self._example_of = best.drop_duplicates("mapping_code").set_index("mapping_code")["row"]
        labels = photos.labels.drop_duplicates("image_path").set_index("image_path")
        sizes = zip(labels["image_width"].tolist(), labels["image_height"].tolist(), strict=True)
        self._sizes: dict[str, Box] = dict(zip(labels.index, sizes, strict=True))
        names = photos.labels[["mapping_code", "drug_name"]].drop_duplicates("mapping_code")
        self._name_of: dict[str, str] = dict(names.itertuples(index=False, name=None))
        classes = recogniser.classes
        self._name_of |= dict(zip(classes["mapping_code"], classes["drug_name"], strict=True))

    def crop(self, suspect: Suspect) -> Pixels | None:
        """The crop that the classifier saw; of a box without a label, one of the picture."""
        place = self._crop_of.get((suspect.image_path, suspect.code, *suspect.box))
        if place is not None:
            return self._stores[place[0]].decode(place[1])
        picture = self._photos.picture(suspect.image_path, suspect.split, suspect.image_type)
        if picture is None:
            return None
        factor = picture.shape[1] / self._sizes[suspect.image_path][0]
        box = np.rint(np.array([suspect.box]) * factor).astype(np.int64)
        cut: Pixels = self._recogniser.cut(picture, box)[0]
        return cut

    def render(
        self, shown: Sequence[Suspect], found: int, progress: Callable[[int, int], None]
    ) -> str:
        """The HTML; `found`: suspects in all."""
        cards = []
        for done, suspect in enumerate(shown, start=1):
            cards.append(self._card(suspect))
            progress(done, len(shown))
        codes = sorted({code for one in shown for code in (one.code, one.nearest) if code})
        content = {
            "scale": self._scale,
            "found": found,
            "columns": COLUMNS,
            "suspects": cards,
            "names": dict(sorted(self._name_of.items())),
            "examples": {code: self._example(code) for code in codes},
        }
        return page.render("review/templates/sheet.html", content=content)

    def _card(self, suspect: Suspect) -> dict[str, Any]:
        picture = self._photos.picture(suspect.image_path, suspect.split, suspect.image_type)
        width, height = self._sizes[suspect.image_path]
        return {
            "image_path": suspect.image_path,
            "split": suspect.split,
            "code": suspect.code,
            "box": suspect.box,
            "found_box": suspect.found_box,
            "score": round(suspect.score, 3),
            "reasons": suspect.reasons,
            "nearest": suspect.nearest,
            "probability": round(suspect.probability, 3),
            "read": suspect.read,
            "note": suspect.note,
            "crop": _uri(self.crop(suspect), CROP_PX),
            "photo": _uri(picture, PHOTO_PX),
            "width": width,
            "height": height,
        }

    def _example(self, code: str) -> str:
        """A train pill that is most certainly of this code."""
        row = self._example_of.get(code)
        return "" if row is None else _uri(self._stores["train"].decode(int(row)), EXAMPLE_PX)


def _uri(picture: Pixels | None, longest_px: int) -> str:
    if picture is None:
        return ""
    return page.jpeg_uri(pixels.encode(pixels.scale_down(picture, longest_px), QUALITY))
