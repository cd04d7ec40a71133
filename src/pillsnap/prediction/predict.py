"""`pillsnap predict`: the pills in pictures; a picture that cannot be read is refused alone."""

import glob
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pillsnap import files
from pillsnap.arrays import Pixels
from pillsnap.dataset import names, pictures, source
from pillsnap.dataset.pictures import Picture, PictureError
from pillsnap.errors import DataError, UsageError, UserError
from pillsnap.prediction import annotation, output
from pillsnap.prediction.load import Loaded
from pillsnap.prediction.output import Answer
from pillsnap.recognition.recogniser import NO_CLASS, Pill

Read = tuple[Path, Picture | UserError]  # a picture, or why it was refused

LONGEST_STEM_BYTES = 200  # of an annotated picture's name: file systems take 255 in all
ANNOTATED = "_pills.jpg"  # after the picture's own name: no original is ever overwritten


@dataclass
class Tally:
    """Counts for the last line of a run."""

    pictures: int = 0
    refused: int = 0
    pills: int = 0
    unknown: int = 0
    seconds: float = 0.0  # that the answers took

    def counted(self, answers: Iterator[Answer]) -> Iterator[Answer]:
        """The same answers, each added when it comes."""
        begun_s = time.perf_counter()
        for answer in answers:
            self.seconds += time.perf_counter() - begun_s
            self.pictures += 1
            self.refused += answer.error is not None
            self.pills += len(answer.pills)
            self.unknown += sum(not pill.known for pill in answer.pills)
            yield answer
            begun_s = time.perf_counter()

    def __str__(self) -> str:
        answered = self.pictures - self.refused
        rate = f", {answered / self.seconds:.1f} pictures/s warm" if answered else ""
        noun = "picture" if self.pictures == 1 else "pictures"
        return (
            f"{self.pictures} {noun}: {answered} answered, {self.refused} refused; "
            f"{self.pills} pills, {self.unknown} of them unknown{rate}"
        )


def predict(
    loaded: Loaded,
    paths: Sequence[Path],
    top: int,
    codes: Sequence[str] | None,
    annotate_dir: Path | None,
    form: str,
) -> int:
    """Recognise and print in a form of output.write; 1 when a picture was refused, else 0."""
    tally = Tally()
    answers = recognise(loaded, paths, top, codes, annotate_dir)
    output.write(form, tally.counted(answers), sys.stdout)
    print(tally, file=sys.stderr)
    return 1 if tally.refused else 0


def form_of(as_json: bool, csv: bool) -> str:
    """The form of output that the options ask for."""
    if as_json and csv:
        raise UsageError("--json and --csv were both given.", "Choose one.")
    return "json" if as_json else "csv" if csv else "table"


def check_annotate_dir(folder: Path | None) -> None:
    """UsageError when annotated pictures cannot be written there."""
    if folder is not None and folder.exists() and not folder.is_dir():
        raise UsageError(f"--annotate {folder} is a file.", "Name a folder.")


def expand(images: Sequence[str]) -> list[Path]:
    """The pictures that paths, folders and globs name, each once; missing paths are kept."""
    return list(dict.fromkeys(path for image in images for path in _expanded(image)))


def check_exist(paths: Sequence[Path]) -> None:
    """PictureError if none of these exists, before the models are loaded for nothing."""
    if not any(map(os.path.lexists, paths)):
        raise PictureError(f"Missing: {', '.join(map(str, paths[:5]))}.", "Check the path.")


def folder(path: Path) -> Path:
    """The folder of this name, whatever the Unicode form on disk; DataError if it is none."""
    found = source.locate(path.expanduser())
    if not found.is_dir():
        raise DataError(f"{path} is not a folder.", "Name the folder the photos are in.")
    return found


def read_codes(path: Path) -> list[str]:
    """Codes of a list, one per line; `#` starts a comment."""
    cure = "Give a text file with one K-code per line, as in classes.csv."
    text = files.read_bytes(path, cure).decode("utf-8-sig", "replace")
    codes = [code for line in text.splitlines() if (code := line.split("#")[0].strip())]
    if not codes:
        raise DataError(f"{path} holds no code.", cure)
    for code in codes:
        if not names.is_code(code):
            raise DataError(f"{path}: {code[:40]!r} is not a code of a drug.", cure)
    return codes


def check_codes(path: Path | None, codes: Sequence[str], loaded: Loaded) -> None:
    """DataError if the list at `path` holds a code that is no class of the models."""
    unknown = loaded.recogniser.not_classes(codes) if codes else ""
    if unknown:
        raise DataError(f"{path} holds codes that are no class: {unknown}.", NO_CLASS)


def recognise(
    loaded: Loaded,
    paths: Sequence[Path],
    top: int,
    codes: Sequence[str] | None = None,
    annotate_dir: Path | None = None,
) -> Iterator[Answer]:
    """An answer for each picture, in their order, a batch at a time."""
    taken: set[str] = set()
    for batch in _batches(paths, loaded):
        frames = [picture.pixels for _, picture in batch if isinstance(picture, Picture)]
        pills = iter(loaded.recognise(frames, top, codes) if frames else [])
        for path, picture in batch:
            if isinstance(picture, UserError):
                print(f"{picture.fact}\n  -> {picture.cure}", file=sys.stderr)
                yield Answer(str(path), [], picture)
                continue
            found = next(pills)
            if annotate_dir is not None:
                _annotate(annotate_dir, path, picture.pixels, found, taken)
            scaled = [pill.scaled(*picture.factors) for pill in found]
            yield Answer(str(path), scaled, None, picture.size)
        del batch, frames, picture  # free them before the next pictures are read


def _batches(paths: Sequence[Path], loaded: Loaded) -> Iterator[list[Read]]:
    """Pictures read, or why not; a batch holds no more pixels than one picture may have."""
    most = min(loaded.max_pixels, pictures.KEPT_PIXELS)
    batch: list[Read] = []
    held = 0
    for path in paths:
        picture: Picture | UserError
        try:
            picture = pictures.read(path, loaded.max_pixels)
        except UserError as error:
            picture = error
        size = picture.pixels[..., 0].size if isinstance(picture, Picture) else 0
        if batch and (held + size > most or len(batch) == loaded.batch_size):
            yield batch
            batch, held = [], 0
        batch.append((path, picture))
        held += size
    if batch:
        yield batch


def _expanded(image: str) -> list[Path]:
    try:
        path = source.locate(Path(image).expanduser())
        if path.is_dir():
            found = pictures.in_folder(path)
            if not found:
                kinds = ", ".join(sorted(pictures.SUFFIXES))
                cure = "Name the folder the photos are in."
                raise DataError(f"{path} holds no picture ({kinds}).", cure)
            return found
        matches = [] if path.exists() else glob.glob(str(path), recursive=True)  # noqa: PTH207
        return [Path(match) for match in sorted(matches) if not Path(match).is_dir()] or [path]
    except (OSError, RuntimeError):  # a name that is too long, a home folder that is not known
        return [Path(image)]


def _annotate(
    folder: Path, path: Path, frame: Pixels, pills: Sequence[Pill], taken: set[str]
) -> None:
    stem = path.stem.encode("utf-8", "replace")[:LONGEST_STEM_BYTES].decode("utf-8", "ignore")
    name, number = f"{stem}{ANNOTATED}", 2
    while name in taken:
        name, number = f"{stem}-{number}{ANNOTATED}", number + 1
    taken.add(name)
    content = annotation.jpeg(annotation.draw(frame, pills))
    try:
        files.write_bytes(folder / name, content)
    except OSError as error:
        fact = f"{folder / name} cannot be written: {error.strerror}."
        raise DataError(fact, "Name another folder: --annotate FOLDER") from None
