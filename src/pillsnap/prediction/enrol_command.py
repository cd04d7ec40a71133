"""`pillsnap enroll`, `pillsnap unenroll` and `pillsnap gallery`: the project's gallery changed."""

from collections.abc import Sequence
from pathlib import Path

from pillsnap import files, params
from pillsnap.places import Places
from pillsnap.prediction import enrolment, load
from pillsnap.prediction import gallery as galleries
from pillsnap.prediction.gallery import Entry, Gallery


def enroll(drug: Entry, images: Sequence[Path], single: bool, twin: bool, device: str) -> str:
    """Add photos of a drug; the line to print."""
    loaded = load.load("torch", None, device, enrolled=False)
    if single:
        loaded = load.for_single(loaded)
    own_sha256 = loaded.recogniser.calibration.classification_sha256
    before = galleries.load(loaded.gallery_path, own_sha256)
    after = enrolment.enrol(loaded.recogniser, before, drug, images, loaded.max_pixels, twin)
    galleries.save(loaded.gallery_path, after)
    count = next(count for code, _, count in enrolment.listing(after) if code == drug.code)
    return f"{drug.code}: {count} photos; {_summary(loaded.gallery_path, after)}"


def unenroll(code: str) -> str:
    """Take a drug out; the line that says what stands now."""
    path, before = _own()
    after = galleries.without(before, code)
    galleries.save(path, after)
    return f"{code}: taken out; {_summary(path, after)}"


def listing() -> str:
    """Every enrolled drug, a line each: code, photos, name."""
    path, gallery = _own()
    rows = enrolment.listing(gallery)
    lines = [f"{code}  {count:3} photos  {name}" for code, name, count in rows]
    return "\n".join([*lines, _summary(path, gallery)])


def _own() -> tuple[Path, Gallery]:
    project = params.load()
    path = galleries.path_of(project.scale)
    own_sha256 = files.sha256_of(Places.of(project).checkpoint("classification"))
    return path, galleries.load(path, own_sha256)


def _summary(path: Path, gallery: Gallery) -> str:
    return f"{path}: version {gallery.version}, {len(gallery.entries)} drugs"
