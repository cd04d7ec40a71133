"""`pillsnap predict`: pictures in, named pills out; what cannot be read is refused one by one."""

import glob
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pillsnap import files
from pillsnap.arrays import Pixels
from pillsnap.dataset import names
from pillsnap.errors import DataError, ParameterError, UserError
from pillsnap.prediction import annotation, output, pictures
from pillsnap.prediction.load import Loaded
from pillsnap.prediction.output import Answer
from pillsnap.validation import photos

ANNOTATED = "_pills.jpg"  # after the picture's own name: no original is ever written over


@dataclass
class Tally:
    """What a run did, for the line it ends with."""

    pictures: int = 0
    refused: int = 0
    pills: int = 0
    unknown: int = 0
    seconds: float = 0.0  # of reading and recognising


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
    """The pictures that paths, folders (and theirs) and globs name, each once, folders sorted.

    A name nothing stands behind stays: reading it tells.
    """
    found: dict[Path, None] = {}
    for image in images:
        path = photos.locate(Path(image).expanduser())
        if path.is_dir():
            found.update(dict.fromkeys(_pictures_in(path)))
        elif path.exists():
            found[path] = None
        else:
            matched = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207  # any pattern
            matches = [Path(name) for name in matched]
            pictures_ = [match for match in matches if not match.is_dir()]
            found.update(dict.fromkeys(pictures_ or [path]))
    return list(found)


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
        good = [frame for _, frame in batch if not isinstance(frame, UserError)]
        named = iter(loaded.recogniser.recognise(good, top, codes) if good else [])
        tally.seconds += time.perf_counter() - begun_s
        for path, frame in batch:
            if isinstance(frame, UserError):
                answer = Answer(str(path), [], frame)
                print(f"{frame.fact}\n  -> {frame.cure}", file=sys.stderr)
            else:
                size = (frame.shape[1], frame.shape[0])
                answer = Answer(str(path), next(named), None, size)
                if annotate_dir is not None:
                    _annotate(annotate_dir, path, frame, answer, taken)
            _count(tally, answer)
            yield answer
        begun_s = time.perf_counter()


def _batches(
    paths: Sequence[Path], loaded: Loaded
) -> Iterator[list[tuple[Path, Pixels | UserError]]]:
    """Pictures read, or why not; a batch holds no more pixels than one picture may have."""
    batch: list[tuple[Path, Pixels | UserError]] = []
    held = 0
    for path in paths:
        frame: Pixels | UserError
        try:
            frame = pictures.read(path, loaded.max_pixels)
            size = frame.shape[0] * frame.shape[1]
        except UserError as error:
            frame, size = error, 0
        if batch and (held + size > loaded.max_pixels or len(batch) == loaded.batch_size):
            yield batch
            batch, held = [], 0
        batch.append((path, frame))
        held += size
    if batch:
        yield batch


def _pictures_in(folder: Path) -> list[Path]:
    """What is a picture by its name, also HEIC ones, pipes and broken links: reading refuses these
    with a cure."""
    suffixes = pictures.SUFFIXES | pictures.HEIF_SUFFIXES
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and not path.is_dir()
    )
    if not found:
        raise DataError(
            f"{folder} holds no picture ({', '.join(sorted(pictures.SUFFIXES))}).",
            "Name the folder the photos are in.",
        )
    return found


def _annotate(folder: Path, path: Path, frame: Pixels, answer: Answer, taken: set[str]) -> None:
    name, number = f"{path.stem}{ANNOTATED}", 2
    while name in taken:
        name, number = f"{path.stem}-{number}{ANNOTATED}", number + 1
    taken.add(name)
    files.write_bytes(folder / name, annotation.jpeg(annotation.draw(frame, answer.pills)))


def _count(tally: Tally, answer: Answer) -> None:
    tally.pictures += 1
    tally.refused += answer.error is not None
    tally.pills += len(answer.pills)
    tally.unknown += sum(not pill.known for pill in answer.pills)


def _report(tally: Tally) -> None:
    answered = tally.pictures - tally.refused
    rate = f", {answered / tally.seconds:.1f} pictures/s warm" if answered else ""
    pictures = "1 picture" if tally.pictures == 1 else f"{tally.pictures} pictures"
    print(
        f"{pictures}: {answered} answered, {tally.refused} refused; "
        f"{tally.pills} pills, {tally.unknown} of them unknown{rate}",
        file=sys.stderr,
    )
