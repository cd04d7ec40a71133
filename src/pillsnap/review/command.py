"""`pillsnap review`: writes the sheet, or takes corrections over into data/corrections."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from pillsnap import files
from pillsnap.dataset import source
from pillsnap.dataset.manifest import MAKE
from pillsnap.imprint import compare
from pillsnap.imprint.reader import Reader
from pillsnap.interchange import edited
from pillsnap.manifest import corrections
from pillsnap.manifest.corrections import BOX, Correction, PhotoPill
from pillsnap.params import Params, at
from pillsnap.places import Places
from pillsnap.prediction import load as loading
from pillsnap.recognition.recogniser import Recogniser
from pillsnap.review import edits, suspects
from pillsnap.review.photos import Photos
from pillsnap.review.sheet import Sheet
from pillsnap.review.suspects import Suspect
from pillsnap.stage.log import Bar

READ_PER_SHOWN = 2  # imprints are read of so many labels for one on the sheet


def write(params: Params, out: Path | None, count: int, imprint: bool, device: str) -> str:
    """Write the sheet with the `count` most suspect labels; returns what to do next."""
    places = Places.of(params)
    path = out or places.artifacts_dir / "review.html"
    reader = Reader() if imprint else None
    recogniser = loading.load("torch", None, device, enrolled=False).recogniser
    photos = Photos(places, params.data_root(), params.validate_.max_pixels)
    bar = Bar("review")
    try:
        found, sheet = find(recogniser, places, photos, params, bar)
        if reader is not None:
            found = list(_with_imprints(found, sheet, reader, recogniser, count * READ_PER_SHOWN))
            found.sort(key=lambda one: (-one.score, one.key))
        html = sheet.render(found[:count], len(found), bar.update)
    finally:
        bar.stop()
    files.write_text(path, html)
    return (
        f"{path}: {min(count, len(found)):,} of {len(found):,} suspects. Open it in a browser, "
        "answer, download the CSV, then: pillsnap review --apply FILE"
    )


def find(
    recogniser: Recogniser, places: Places, photos: Photos, params: Params, bar: Bar
) -> tuple[list[Suspect], Sheet]:
    """All suspects, the most suspect first, without those that a correction answers."""
    answered = corrections.read(corrections.path_of(places.scale))
    codes = recogniser.classes["mapping_code"].tolist()
    crops = suspects.of_crops(recogniser, places, bar.update)
    distance = params.validate_.near_duplicate_distance
    every = chain(
        suspects.by_detector(recogniser, photos, params.evaluate.match_iou, bar.update),
        suspects.by_class(crops, codes),
        suspects.near_copies(crops, codes, distance),
    )
    return suspects.ranked(every, answered), Sheet(recogniser, places, photos, crops)


def _with_imprints(
    found: Sequence[Suspect], sheet: Sheet, reader: Reader, recogniser: Recogniser, count: int
) -> Iterator[Suspect]:
    """What the first `count` labels read; one that contradicts its drug becomes more suspect."""
    columns = recogniser.classes[["mapping_code", "print_front", "print_back"]]
    prints = {code: sides for code, *sides in columns.itertuples(index=False)}
    for number, suspect in enumerate(found):
        crop = sheet.crop(suspect) if number < count else None
        if crop is None:
            yield suspect
            continue
        [reading] = reader.read([crop])
        suspect = replace(suspect, read=reading.text)
        if compare.verdict(reading.text, *prints.get(suspect.code, ("", ""))) == "contradicts":
            score = 1 - (1 - suspect.score) * (1 - reading.confidence / 2)
            suspect = replace(suspect, score=score, reasons=(*suspect.reasons, "imprint"))
        yield suspect


def take_answers(params: Params, file: Path) -> str:
    """Add the rows of a sheet's CSV to the corrections, after checking all of them."""
    return _add(params, corrections.read(_existing(file)), _Labels(params))


def take_export(params: Params, file: Path) -> str:
    """Add what was edited in another tool: the differences to the labels that were exported."""
    labels, places = _Labels(params), Places.of(params)
    rows: list[Correction] = []
    for image_path, after in edited.read(_existing(file), places).items():
        rows += edits.differences(image_path, labels.of(image_path), after, str(file))
    return _add(params, rows, labels)


def _existing(file: Path) -> Path:
    with files.opened(file, "Name the file that was downloaded."):
        return file


def _add(params: Params, rows: Sequence[Correction], labels: "_Labels") -> str:
    path = corrections.path_of(params.scale)
    there = corrections.read(path)
    known = {row._replace(place="") for row in there}
    new = [row for row in rows if row._replace(place="") not in known]
    labels.check(new)
    if new:
        corrections.write(path, [*there, *new])
    return (
        f"{path}: {len(new):,} rows added, {len(rows) - len(new):,} were there. "
        f"Use them: dvc repro. Keep them: git add {path}"
    )


class _Labels:
    """The labels as the corrections leave them, photo by photo."""

    def __init__(self, params: Params) -> None:
        self._root = params.data_root()
        places = Places.of(params)
        rows = Photos(places, self._root, params.validate_.max_pixels).labels
        self._pills: dict[str, list[PhotoPill]] = defaultdict(list)
        self._size: dict[str, tuple[int, int]] = {}
        sizes = rows[["image_width", "image_height"]]
        columns = rows[["image_path", "mapping_code", *BOX]]
        for values, size in zip(
            columns.itertuples(index=False), sizes.itertuples(index=False), strict=True
        ):
            path, code, *box = values
            self._pills[path].append(PhotoPill(code, tuple(box)))
            self._size[path] = size[0], size[1]
        there = corrections.read(corrections.path_of(places.scale))
        built = int(at(files.read_json(places.sampling, MAKE), "corrections.rows") or 0)
        self.check(there[built:])  # rows that were added since the manifests were built

    def of(self, image_path: str) -> list[PhotoPill]:
        """The labelled pills of a photo."""
        return self._pills.get(image_path, [])

    def check(self, rows: Sequence[Correction]) -> None:
        """Apply rows; DataError for one that fits no label or no photo."""
        unused = [row for row in rows if row.image_path not in self._size]
        found = source.statuses([f"{self._root}/{row.image_path}" for row in unused])
        for row, status in zip(unused, found, strict=True):
            if isinstance(status, OSError):
                row.refuse(f"there is no photo {row.image_path} in {self._root}.")
        for row in rows:
            path = row.image_path
            if path in self._size:
                self._pills[path] = corrections.apply(self._pills[path], self._size[path], row)
