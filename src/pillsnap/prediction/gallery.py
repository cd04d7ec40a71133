"""Drugs enrolled from a handful of photos, no training: their mean embeddings beside the trained
classes', in a small file that carries its version and its own sha256."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pillsnap import files
from pillsnap.arrays import Floats32
from pillsnap.dataset.names import CODE
from pillsnap.errors import CheckpointError, DataError
from pillsnap.recognition import calibration

FORMAT = 1


@dataclass(frozen=True)
class Photo:
    """An enrolled photo: where it was, the sha256 of its bytes, its pill's embedding [d]."""

    name: str
    sha256: str
    embedding: Floats32


@dataclass(frozen=True)
class Entry:
    """An enrolled drug."""

    code: str
    drug_name: str
    edi_codes: tuple[str, ...]
    photos: tuple[Photo, ...]

    @property
    def mean(self) -> Floats32:
        """Mean embedding, of length 1, [d]."""
        mean = calibration.normalised(_stacked(self).mean(axis=0, keepdims=True))
        return np.asarray(mean[0], np.float32)


@dataclass(frozen=True)
class Gallery:
    """All enrolled drugs, for one classifier: another one's embeddings mean something else."""

    classification_sha256: str
    version: int  # rises with every change
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
    """Where a scale's gallery is; outside artifacts/, which DVC empties."""
    return Path("gallery") / f"{scale}.json"


def with_photos(gallery: Gallery, added: Entry) -> Gallery:
    """The gallery with a drug's photos; those it has already are not counted twice."""
    if not CODE.fullmatch(added.code):
        raise DataError(f"{added.code!r} is no K-code.", "Write it like K-012345.")
    own = next((entry for entry in gallery.entries if entry.code == added.code), None)
    known = {photo.sha256: photo for photo in [*(own.photos if own else ()), *added.photos]}
    photos = tuple(sorted(known.values(), key=lambda photo: photo.sha256))
    drug_name = added.drug_name or (own.drug_name if own else "")
    edi_codes = added.edi_codes or (own.edi_codes if own else ())
    entry = Entry(added.code, drug_name, edi_codes, photos)
    return _changed(gallery, [*_others(gallery, added.code), entry])


def without(gallery: Gallery, code: str) -> Gallery:
    """The gallery without a drug; DataError when it is not in it."""
    if code not in gallery.codes:
        has = ", ".join(gallery.codes) or "nothing"
        raise DataError(f"{code} is not enrolled; the gallery holds {has}.", "Check the code.")
    return _changed(gallery, _others(gallery, code))


def twin_of(entry: Entry, means: Floats32, codes: Sequence[str]) -> tuple[str, int] | None:
    """The other drug (its code) that photos of the drug are nearer to than to the drug's other
    photos, and how many; None where none is. With a single photo nothing can be said."""
    embeddings = _stacked(entry)
    if len(embeddings) < 2:
        return None
    others = (embeddings.sum(axis=0) - embeddings) / (len(embeddings) - 1)
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
    for entry in tree["entries"]:
        for photo in entry["photos"]:
            photo["embedding"] = _encoded(photo["embedding"])
    tree["format"] = FORMAT
    tree = json.loads(json.dumps(tree))
    text = json.dumps({**tree, "sha256": _digest(tree)}, ensure_ascii=False, indent=1)
    files.write_text(path, text + "\n")


def load(path: Path, classification_sha256: str) -> Gallery:
    """Read a gallery, an empty one where there is no file; CheckpointError when it is damaged or
    was made with another classifier."""
    cure = f"Restore it (git checkout {path}), or remove it and enrol again."
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        digest, form = tree.pop("sha256"), tree.pop("format")
    except FileNotFoundError:
        return Gallery(classification_sha256, 0, ())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{path} is damaged.", cure) from None
    if form != FORMAT or digest != _digest({**tree, "format": form}):
        raise CheckpointError(
            f"{path} is damaged (its sha256 does not fit), or of another version.", cure
        )
    if tree["classification_sha256"] != classification_sha256:
        raise CheckpointError(
            f"{path} was made with another classifier: its embeddings mean nothing to this one.",
            f"Remove {path} and enrol the photos again.",
        )
    entries = tuple(_entry(entry) for entry in tree["entries"])
    return Gallery(classification_sha256, int(tree["version"]), entries)


def _changed(gallery: Gallery, entries: list[Entry]) -> Gallery:
    ordered = tuple(sorted(entries, key=lambda entry: entry.code))
    return replace(gallery, version=gallery.version + 1, entries=ordered)


def _others(gallery: Gallery, code: str) -> list[Entry]:
    return [entry for entry in gallery.entries if entry.code != code]


def _stacked(entry: Entry) -> Floats32:
    return np.stack([photo.embedding for photo in entry.photos])


def _entry(tree: dict[str, Any]) -> Entry:
    photos = [Photo(p["name"], p["sha256"], _decoded(p["embedding"])) for p in tree["photos"]]
    return Entry(tree["code"], tree["drug_name"], tuple(tree["edi_codes"]), tuple(photos))


def _encoded(embedding: Floats32) -> str:
    return base64.b64encode(embedding.astype("<f4").tobytes()).decode()


def _decoded(text: str) -> Floats32:
    return np.frombuffer(base64.b64decode(text), dtype="<f4").astype(np.float32)


def _digest(tree: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()
