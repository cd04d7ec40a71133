"""`pillsnap enroll`, `pillsnap unenroll` and `pillsnap gallery`: the project's gallery."""

from collections.abc import Sequence
from pathlib import Path

from pillsnap import files, params
from pillsnap.prediction import enrolment, load
from pillsnap.prediction import gallery as galleries
from pillsnap.prediction.gallery import Entry, Gallery


def enroll(drug: Entry, images: Sequence[Path], single: bool, twin: bool, device: str) -> str:
    """Add photos of a drug; the line to print."""
    loaded = load.load("torch", None, device, enrolled=False)
    if single:
        loaded = load.for_single(loaded)
    fitted = loaded.recogniser.calibration
    with files.alone(loaded.gallery_path.parent):
        before = galleries.load(
            loaded.gallery_path, fitted.classification_sha256, fitted.class_means.shape[1]
        )
        after = enrolment.enrol(loaded.recogniser, before, drug, images, loaded.max_pixels, twin)
        galleries.save(loaded.gallery_path, after)
    count = next(count for code, _, count in enrolment.listing(after) if code == drug.code)
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
    rows = enrolment.listing(gallery)
    lines = [f"{code}  {count:3} photos  {name}" for code, name, count in rows]
    return "\n".join([*lines, _summary(path, gallery)])


def _own() -> tuple[Path, Gallery]:
    """The project's gallery, whatever classifier it was made with."""
    path = galleries.path_of(params.load().scale)
    return path, galleries.read(path) or Gallery("", 0, ())


def _summary(path: Path, gallery: Gallery) -> str:
    return f"{path}: version {gallery.version}, {len(gallery.entries)} drugs"
