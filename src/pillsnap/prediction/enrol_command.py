"""`pillsnap enroll`, `pillsnap unenroll` and `pillsnap gallery`: the project's gallery."""

from collections.abc import Sequence
from pathlib import Path

from pillsnap import files, params
from pillsnap.dataset import pictures
from pillsnap.errors import DataError
from pillsnap.prediction import enrolment, load, predict
from pillsnap.prediction import gallery as galleries
from pillsnap.prediction.gallery import Entry, Gallery


def enroll(drug: Entry, images: Sequence[Path], single: bool, twin: bool, device: str) -> str:
    """Add photos of a drug; the line to print."""
    galleries.check_code(drug.code)
    for image in images:
        predict.check_exist([image])
    lines, refused = _add([(drug, images)], single, twin, device)
    if refused:
        raise refused[0]
    return "; ".join(lines)


def enroll_folder(folder: Path, single: bool, twin: bool, device: str) -> tuple[str, int]:
    """Add the drugs of a folder with a folder of photos for each K-code; what to print, and 1 as
    exit code if one was refused: the others are added all the same."""
    predict.check_exist([folder])
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    drugs = [(Entry(path.name, "", (), ()), pictures.in_folder(path)) for path in folders]
    for drug, _ in drugs:
        galleries.check_code(drug.code)
    if not drugs:
        fact = f"{folder} holds no folder."
        raise DataError(fact, "Put the photos of each drug into a folder named by its K-code.")
    lines, refused = _add(drugs, single, twin, device)
    problems = [f"{error.fact}\n{error.cure}" for error in refused]
    return "\n".join([*problems, *lines]), int(bool(refused))


def _add(
    drugs: Sequence[tuple[Entry, Sequence[Path]]], single: bool, twin: bool, device: str
) -> tuple[list[str], list[DataError]]:
    """Add photos of drugs with the models loaded once: a line per drug, one on the gallery, and
    the refusals."""
    loaded = load.load("torch", None, device, enrolled=False)
    if single:
        loaded = load.for_single(loaded)
    lines, refused = [], []
    with files.alone(loaded.gallery_path.parent):
        gallery = load.gallery_of(loaded)
        for drug, images in drugs:
            try:
                gallery = enrolment.enrol(
                    loaded.recogniser, gallery, drug, images, loaded.max_pixels, twin
                )
            except DataError as error:
                refused.append(error)
                continue
            count = next(len(entry.photos) for entry in gallery.entries if entry.code == drug.code)
            lines.append(f"{drug.code}: {count} photos")
        if lines:
            galleries.save(loaded.gallery_path, gallery)
    return [*lines, _summary(loaded.gallery_path, gallery)], refused


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
