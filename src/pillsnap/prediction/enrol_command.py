"""`pillsnap enroll`, `pillsnap unenroll` and `pillsnap gallery`: the project's gallery."""

from collections.abc import Sequence
from pathlib import Path

from pillsnap import params
from pillsnap.prediction import enrolment, load, predict
from pillsnap.prediction import gallery as galleries
from pillsnap.prediction.gallery import Entry, Gallery


def enroll(drug: Entry, images: Sequence[Path], single: bool, twin: bool, device: str) -> str:
    """Add photos of a drug; the line to print."""
    galleries.check_code(drug.code)
    for image in images:
        predict.check_exist([image])
    loaded = load.load("torch", None, device, enrolled=False)
    before = load.gallery_of(loaded)
    if single:
        loaded = load.for_single(loaded)
    after = enrolment.enrol(loaded.recogniser, before, drug, images, loaded.max_pixels, twin)
    galleries.save(loaded.gallery_path, after)
    count = next(len(entry.photos) for entry in after.entries if entry.code == drug.code)
    return f"{drug.code}: {count} photos; {_summary(loaded.gallery_path, after)}"


def unenroll(code: str) -> str:
    """Remove a drug; the line to print."""
    path, before = _own()
    after = galleries.without(before, code)
    galleries.save(path, after)
    return f"{code}: removed; {_summary(path, after)}"


def listing() -> str:
    """Every enrolled drug, a line each: code, photos, name."""
    path, gallery = _own()
    drugs = gallery.entries
    lines = [f"{drug.code}  {len(drug.photos):3} photos  {drug.drug_name}" for drug in drugs]
    return "\n".join([*lines, _summary(path, gallery)])


def _own() -> tuple[Path, Gallery]:
    """The project's gallery, whatever classifier it was made with."""
    path = galleries.path_of(params.load().scale)
    return path, galleries.read(path) or Gallery("", 0, ())


def _summary(path: Path, gallery: Gallery) -> str:
    return f"{path}: version {gallery.version}, {len(gallery.entries)} drugs"
