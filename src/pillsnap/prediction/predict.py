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
from pillsnap.dataset import names, source
from pillsnap.errors import DataError, ParameterError, UserError
from pillsnap.prediction import annotation, output, pictures
from pillsnap.prediction.load import Loaded
from pillsnap.prediction.output import Answer
from pillsnap.prediction.pictures import Picture, PictureMissingError
from pillsnap.recognition.recogniser import Pill

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
    seconds: float = 0.0  # of reading and recognising

    def count(self, answer: Answer) -> None:
        """Add an answer."""
        self.pictures += 1
        self.refused += answer.error is not None
        self.pills += len(answer.pills)
        self.unknown += sum(not pill.known for pill in answer.pills)


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
    answers = recognise(loaded, paths, top, codes, annotate_dir, tally)
    output.write(form, answers, sys.stdout)
    _report(tally)
    return 1 if tally.refused else 0


def form_of(as_json: bool, csv: bool) -> str:
    """The form of output that the options ask for."""
    if as_json and csv:
        raise ParameterError("--json and --csv were both given.", "Choose one.")
    return "json" if as_json else "csv" if csv else "table"


def check_annotate_dir(folder: Path | None) -> None:
    """ParameterError when annotated pictures cannot be written there."""
    if folder is not None and folder.exists() and not folder.is_dir():
        raise ParameterError(f"--annotate {folder} is a file.", "Name a folder.")


def expand(images: Sequence[str]) -> list[Path]:
    """The pictures that paths, folders and globs name, each once, folders sorted. A path that does
    not exist is kept: reading it gives the reason."""
    return list(dict.fromkeys(path for image in images for path in _expanded(image)))


def check_exist(paths: Sequence[Path]) -> None:
    """PictureMissingError if none of these exists, before the models are loaded for nothing."""
    if not any(map(os.path.lexists, paths)):
        raise PictureMissingError(f"Missing: {', '.join(map(str, paths[:5]))}.", "Check the path.")


def folder(path: Path) -> Path:
    """The folder of this name, whatever the Unicode form on disk; DataError if it is none."""
    found = source.locate(path.expanduser())
    if not found.is_dir():
        raise DataError(f"{path} is not a folder.", "Name the folder the photos are in.")
    return found


def read_codes(path: Path) -> list[str]:
    """K-codes of a list, one per line; `#` starts a comment."""
    cure = "Give a text file with one K-code per line, as in classes.csv."
    text = files.read_bytes(path, cure).decode("utf-8-sig", "replace")
    codes = [line.split("#")[0].strip() for line in text.splitlines()]
    codes = [code for code in codes if code]
    if not codes:
        raise DataError(f"{path} holds no code.", cure)
    other = next((code for code in codes if not names.CODE.fullmatch(code)), None)
    if other is not None:
        raise DataError(f"{path}: {other[:40]!r} is not a K-code.", cure)
    return codes


def recognise(
    loaded: Loaded,
    paths: Sequence[Path],
    top: int,
    codes: Sequence[str] | None,
    annotate_dir: Path | None,
    tally: Tally,
) -> Iterator[Answer]:
    """An answer for each picture, in their order, a batch at a time; `tally` is kept."""
    taken: set[str] = set()
    begun_s = time.perf_counter()
    for batch in _batches(paths, loaded):
        frames = [picture.pixels for _, picture in batch if isinstance(picture, Picture)]
        pills = loaded.recogniser.recognise(frames, top, codes) if frames else []
        tally.seconds += time.perf_counter() - begun_s
        answers = _answers(batch, pills)
        if annotate_dir is not None:
            read = [path for path, picture in batch if isinstance(picture, Picture)]
            for path, frame, found in zip(read, frames, pills, strict=True):
                _annotate(annotate_dir, path, frame, found, taken)
        del batch, frames  # free them before the next pictures are read
        for answer in answers:
            if answer.error is not None:
                print(f"{answer.error.fact}\n  -> {answer.error.cure}", file=sys.stderr)
            tally.count(answer)
            yield answer
        begun_s = time.perf_counter()


def _answers(batch: Sequence[Read], pills: Sequence[list[Pill]]) -> list[Answer]:
    answers, left = [], iter(pills)
    for path, picture in batch:
        if isinstance(picture, Picture):
            found = [pill.scaled(*picture.factors) for pill in next(left)]
            answers.append(Answer(str(path), found, None, picture.size))
        else:
            answers.append(Answer(str(path), [], picture))
    return answers


def _batches(paths: Sequence[Path], loaded: Loaded) -> Iterator[list[Read]]:
    """Pictures read, or why not; a batch holds no more pixels than one picture may have."""
    most = min(loaded.max_pixels, pictures.KEPT_PIXELS)
    batch: list[Read] = []
    held = 0
    for path in paths:
        picture: Picture | UserError
        try:
            picture = pictures.read(path, loaded.max_pixels)
            size = picture.pixels.shape[0] * picture.pixels.shape[1]
        except UserError as error:
            picture, size = error, 0
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
        found = [Path(match) for match in sorted(matches)]
        return [match for match in found if not match.is_dir()] or [path]
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
        raise DataError(
            f"{folder / name} cannot be written: {error.strerror}.",
            "Name another folder: --annotate FOLDER",
        ) from None


def _report(tally: Tally) -> None:
    answered = tally.pictures - tally.refused
    rate = f", {answered / tally.seconds:.1f} pictures/s warm" if answered else ""
    pictures = "1 picture" if tally.pictures == 1 else f"{tally.pictures} pictures"
    print(
        f"{pictures}: {answered} answered, {tally.refused} refused; "
        f"{tally.pills} pills, {tally.unknown} of them unknown{rate}",
        file=sys.stderr,
    )
