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
from pillsnap.arrays import Floats32, Ints
from pillsnap.dataset.names import CODE
from pillsnap.errors import CheckpointError, DataError
from pillsnap.recognition import centres
from pillsnap.recognition.centres import Centres, normalised

FORMAT = 3  # 1: of photos that were not turned; 2: the mean of four turns alone
ANGLES = 6  # up to a quarter turn, four quarters each; docs/evaluation.md compares numbers of turns


def _decoded(text: Any) -> Floats32:
    if not isinstance(text, str):
        raise ValueError("not base64 text")
    turned = np.frombuffer(base64.b64decode(text), "<f2").reshape(ANGLES, -1).astype(np.float32)
    if not np.isfinite(turned).all():
        raise ValueError("not finite")
    return turned


@dataclass(frozen=True)
class EnrolledPhoto:
    """An enrolled photo and its pill's embeddings at several angles."""

    name: str  # of the file
    sha256: str  # of its bytes
    # [ANGLES, d], each the mean of four quarter turns; base64 of float16 in the file
    turned: Annotated[Floats32, PlainValidator(_decoded)]

    @property
    def embedding(self) -> Floats32:
        """Mean of all turns, [d], of length 1."""
        return normalised(self.turned.mean(axis=0))


@dataclass(frozen=True)
class Entry:
    """An enrolled drug."""

    code: Annotated[str, Field(pattern=f"^{CODE.pattern}$")]
    drug_name: str
    edi_codes: tuple[str, ...]
    photos: Annotated[tuple[EnrolledPhoto, ...], Field(min_length=1)]

    @property
    def means(self) -> Floats32:
        """Mean embedding of each side, [SIDES, d], of length 1; twice the same for one photo."""
        embeddings, sides = _stacked(self), sides_of(_stacked(self))
        groups = [embeddings[sides == side] for side in range(centres.SIDES)]
        return normalised(np.stack([(g if len(g) else embeddings).mean(axis=0) for g in groups]))


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
    def photos(self) -> list[EnrolledPhoto]:
        """Those of all entries."""
        return [photo for entry in self.entries for photo in entry.photos]

    @property
    def means(self) -> Floats32:
        """Mean embeddings of both sides, [entries, SIDES, d]."""
        return np.stack([entry.means for entry in self.entries])


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


def sides_of(embeddings: Floats32) -> Ints:
    """The side of each photo of a drug, 0 or 1, [n]: the two that differ most show both sides,
    each of the others shows the one that it resembles more."""
    cosines = embeddings @ embeddings.T
    first, second = np.unravel_index(cosines.argmin(), cosines.shape)
    return np.asarray(cosines[:, second] > cosines[:, first], np.int64)


def twin_of(entry: Entry, others: Centres, codes: Sequence[str]) -> tuple[str, int] | None:
    """Code of the drug that most photos resemble more than the other photos of their side, and how
    many of them resemble any other drug more; None if none does. A photo alone on its side does
    not tell. `others`: of the other drugs, `codes` their codes."""
    embeddings = _stacked(entry)
    sides, theirs = sides_of(embeddings), others.likeness(embeddings)
    astray = []
    for index, side in enumerate(sides):
        same = np.flatnonzero(sides == side)
        same = same[same != index]
        if len(same):
            mean = normalised(embeddings[same].mean(axis=0, keepdims=True))
            own = Centres(np.stack([mean, mean], axis=1), others.spread)
            if theirs[index].max() >= own.likeness(embeddings[index : index + 1])[0, 0]:
                astray.append(index)
    if not astray:
        return None
    return codes[int(np.bincount(theirs[astray].argmax(axis=1)).argmax())], len(astray)


def save(path: Path, gallery: Gallery) -> None:
    """Write a gallery as JSON; equal galleries give equal bytes."""
    tree = asdict(gallery)
    for photo in (photo for entry in tree["entries"] for photo in entry["photos"]):
        photo["turned"] = base64.b64encode(photo["turned"].astype("<f2").tobytes()).decode()
    files.write_sealed_json(path, {**tree, "format": FORMAT})


def read(path: Path) -> Gallery | None:
    """The gallery of a file, None if there is no file; CheckpointError if it is damaged."""
    if not os.path.lexists(path):
        return None
    cure = f"Restore it (git checkout {path}), or remove it and enrol again."
    tree = files.read_sealed_json(path, cure, CheckpointError)
    if tree.get("format") != FORMAT:
        again = f"Remove {path} and enroll the photos again."
        raise CheckpointError(f"{path} is of another format than {FORMAT}.", again)
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
    for size in {photo.turned.shape[1] for photo in gallery.photos}:
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
