"""Drugs enrolled without training: the embeddings of their photos, in a sealed file."""

import base64
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, PlainValidator

from pillsnap import files
from pillsnap.arrays import Floats32
from pillsnap.dataset.names import CODE
from pillsnap.errors import CheckpointError, DataError
from pillsnap.recognition import calibration

FORMAT = 1


def _decoded(text: Any) -> Floats32:
    if not isinstance(text, str):
        raise ValueError("not base64 text")
    return np.frombuffer(base64.b64decode(text), dtype="<f4").astype(np.float32)


@dataclass(frozen=True)
class EnrolledPhoto:
    """An enrolled photo and its pill's embedding."""

    name: str  # of the file
    sha256: str  # of its bytes
    embedding: Annotated[Floats32, PlainValidator(_decoded)]  # [d], base64 in the file


@dataclass(frozen=True)
class Entry:
    """An enrolled drug."""

    code: Annotated[str, Field(pattern=f"^{CODE.pattern}$")]
    drug_name: str
    edi_codes: tuple[str, ...]
    photos: Annotated[tuple[EnrolledPhoto, ...], Field(min_length=1)]

    @property
    def mean(self) -> Floats32:
        """Mean embedding, of length 1, [d]."""
        mean = calibration.normalised(_stacked(self).mean(axis=0, keepdims=True))
        return np.asarray(mean[0], np.float32)


@dataclass(frozen=True)
class Gallery:
    """All enrolled drugs, for one classifier: embeddings of another one are not comparable."""

    classification_sha256: str
    version: int  # increases with every change
    entries: tuple[Entry, ...]  # sorted by code

    @property
    def codes(self) -> list[str]:
        """K-codes of the entries."""
        return [entry.code for entry in self.entries]

    @property
    def means(self) -> Floats32:
        """Mean embeddings, [entries, d]."""
        return np.stack([entry.mean for entry in self.entries])


def path_of(scale: str) -> Path:
    """The gallery file of a scale; not under artifacts/, which DVC empties."""
    return Path("gallery") / f"{scale}.json"


def check_code(code: str) -> None:
    """DataError unless it is a K-code."""
    if not CODE.fullmatch(code):
        raise DataError(f"{code!r} is not a K-code.", "Write it like K-012345.")


def with_photos(gallery: Gallery, added: Entry) -> Gallery:
    """The gallery with a drug's photos, each once; the same gallery if it holds all of this."""
    check_code(added.code)
    new = Entry(added.code, "", (), ())
    own = next((entry for entry in gallery.entries if entry.code == added.code), new)
    known = {photo.sha256: photo for photo in (*own.photos, *added.photos)}
    photos = tuple(sorted(known.values(), key=lambda photo: photo.sha256))
    drug_name, edi_codes = added.drug_name or own.drug_name, added.edi_codes or own.edi_codes
    same = (drug_name, edi_codes, len(known)) == (own.drug_name, own.edi_codes, len(own.photos))
    if same and own is not new:
        return gallery
    return _changed(gallery, added.code, Entry(added.code, drug_name, edi_codes, photos))


def without(gallery: Gallery, code: str) -> Gallery:
    """The gallery without a drug; DataError when it is not in it."""
    if code not in gallery.codes:
        has = ", ".join(gallery.codes) or "nothing"
        raise DataError(f"{code} is not enrolled; the gallery holds {has}.", "Check the code.")
    return _changed(gallery, code)


def twin_of(entry: Entry, means: Floats32, codes: Sequence[str]) -> tuple[str, int] | None:
    """Code of the drug that most photos are closer to than to the other photos of their own drug,
    and how many of them are closer to any other drug; None if none is. One photo is never enough
    to tell. `means` [n, d] are the mean embeddings of the other drugs, `codes` their codes."""
    embeddings = _stacked(entry)
    if len(embeddings) < 2:
        return None
    others = embeddings.sum(axis=0) - embeddings
    own = (embeddings * calibration.normalised(others)).sum(axis=1)
    cosines = embeddings @ means.T
    astray = np.flatnonzero(cosines.max(axis=1) >= own)
    if not len(astray):
        return None
    nearest = np.bincount(cosines[astray].argmax(axis=1)).argmax()
    return codes[int(nearest)], len(astray)


def save(path: Path, gallery: Gallery) -> None:
    """Write a gallery as JSON; equal galleries give equal bytes."""
    tree = asdict(gallery)
    for photo in (photo for entry in tree["entries"] for photo in entry["photos"]):
        photo["embedding"] = base64.b64encode(photo["embedding"].astype("<f4").tobytes()).decode()
    files.write_sealed_json(path, {**tree, "format": FORMAT})


def read(path: Path) -> Gallery | None:
    """The gallery of a file, None if there is no file; CheckpointError if it is damaged."""
    if not os.path.lexists(path):
        return None
    cure = f"Restore it (git checkout {path}), or remove it and enrol again."
    tree = files.read_sealed_json(path, cure, CheckpointError)
    if tree.get("format") != FORMAT:
        raise CheckpointError(f"{path} is of another format than {FORMAT}.", cure)
    return files.typed(tree, Gallery, path, cure, CheckpointError)


def load(path: Path, classification_sha256: str, embedding_size: int) -> Gallery:
    """The gallery of this classifier, empty if there is no file; CheckpointError."""
    gallery = read(path)
    if gallery is None:
        return Gallery(classification_sha256, 0, ())
    cure = f"Remove {path} and enroll the photos again."
    if gallery.classification_sha256 != classification_sha256:
        fact = f"{path} was made with another classifier: its embeddings are not comparable."
        raise CheckpointError(fact, cure)
    for size in {len(photo.embedding) for entry in gallery.entries for photo in entry.photos}:
        if size != embedding_size:
            fact = f"{path}: embeddings of {size} values, the classifier's have {embedding_size}."
            raise CheckpointError(fact, cure)
    return gallery


def _changed(gallery: Gallery, code: str, *added: Entry) -> Gallery:
    """The gallery with `added` in place of a code's entry."""
    others = (entry for entry in gallery.entries if entry.code != code)
    ordered = tuple(sorted([*others, *added], key=lambda entry: entry.code))
    return replace(gallery, version=gallery.version + 1, entries=ordered)


def _stacked(entry: Entry) -> Floats32:
    return np.stack([photo.embedding for photo in entry.photos])
