"""`pillsnap enroll`, `pillsnap unenroll` and `pillsnap gallery`: the project's gallery."""

from collections.abc import Sequence
from pathlib import Path

from pillsnap import files, params
from pillsnap.prediction import enrolment, load, predict
from pillsnap.prediction import gallery as galleries
from pillsnap.prediction.gallery import Entry, Gallery


def enroll(drug: Entry, images: Sequence[Path], single: bool, twin: bool, device: str) -> str:
    """Add photos of a drug; the line to print."""
    galleries.check_code(drug.code)
    for image in images:
        predict.check_exist([image])
    loaded = load.load("torch", None, device, enrolled=False)
    if single:
        loaded = load.for_single(loaded)
    with files.alone(loaded.gallery_path.parent):
        before = load.gallery_of(loaded)
        after = enrolment.enrol(loaded.recogniser, before, drug, images, loaded.max_pixels, twin)
        galleries.save(loaded.gallery_path, after)
    count = next(len(entry.photos) for entry in after.entries if entry.code == drug.code)
    return f"{drug.code}: {count} photos; {_summary(loaded.gallery_path, after)}"


def unenroll(code: str) -> str:
    """Remove a drug; the line to print."""
    path = _own()[0]
    with files.alone(path.parent):
        after = galleries.without(_own()[1], code)
        galleries.save(path, after)
    return f"{code}: removed; {_summary(path, after)}"


def listing() -> str:
    """Every enrolled drug, a line each: code, photos, name."""
    path, gallery = _own()
    lines = [f"{e.code}  {len(e.photos):3} photos  {e.drug_name}" for e in gallery.entries]
    return "\n".join([*lines, _summary(path, gallery)])


def _own() -> tuple[Path, Gallery]:
    """The project's gallery, whatever classifier it was made with."""
    path = galleries.path_of(params.load().scale)
    return path, galleries.read(path) or Gallery("", 0, ())


def _summary(path: Path, gallery: Gallery) -> str:
    return f"{path}: version {gallery.version}, {len(gallery.entries)} drugs"
