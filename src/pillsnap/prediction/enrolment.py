"""A recogniser that knows a gallery's drugs beside its trained classes, and how drugs get in."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pillsnap.arrays import Floats32, Pixels
from pillsnap.errors import DataError, UserError
from pillsnap.prediction import gallery as galleries
from pillsnap.prediction import pictures
from pillsnap.prediction.gallery import Entry, Gallery, Photo
from pillsnap.recognition.calibration import Calibration
from pillsnap.recognition.models import Classifier
from pillsnap.recognition.recogniser import Recogniser

FAR = 10.0  # logits: a share of e^-10, which moves no probability and no refusal


@dataclass(frozen=True)
class EnrolOptions:
    """What `pillsnap enroll` was asked for."""

    code: str
    images: list[Path]
    drug_name: str
    edi_codes: tuple[str, ...]
    single: bool  # the pictures are crops already
    twin: bool  # enrol also what cannot be told from a trained class


class GalleryNamer:
    """A classifier with an output more for each enrolled drug.

    A pill is an enrolled drug's where its embedding is nearer to that drug's mean than to every
    trained class's, and as near as trained drugs are to themselves alone. Its logit then stands
    over the best trained one by the difference of the two cosines in the pill's own scale (the
    slope of its logits over its cosines), and high enough to be accepted. Everywhere else the
    logit is so low that trained classes keep their names, probabilities and refusals.
    """

    def __init__(self, namer: Classifier, enrolled: Floats32, fitted: Calibration) -> None:
        self._namer, self._enrolled, self._trained = namer, enrolled, fitted.class_means
        # A score of cosines refuses by itself; the others know nothing of enrolled means.
        by_cosine = fitted.score == "class_mean"
        self._least_cosine = -1.0 if by_cosine else apart(fitted.class_means)
        self._accepted_logit = fitted.threshold if fitted.score == "energy" else -np.inf

    @property
    def config(self) -> Mapping[str, Any]:
        """The classifier's own."""
        return self._namer.config

    def name(self, crops: Pixels) -> tuple[Floats32, Floats32]:
        """Logits [n, trained + enrolled] and embeddings [n, d]."""
        logits, embeddings = self._namer.name(crops)
        own, learnt = embeddings @ self._enrolled.T, embeddings @ self._trained.T
        nearer = own - learnt.max(axis=1, keepdims=True)
        best = logits.max(axis=1, keepdims=True)
        accepted = (nearer > 0) & (own >= self._least_cosine)
        rise = slopes(logits, learnt)[:, None] * nearer
        winning = np.maximum(best, self._accepted_logit) + rise
        more = np.where(accepted, winning, best - FAR + np.minimum(rise, 0.0))
        return np.concatenate([logits, more], axis=1).astype(np.float32), embeddings


def slopes(logits: Floats32, cosines: Floats32) -> NDArray[np.float64]:
    """How much a pill's logit rises with its cosine, by least squares over the classes; [n]."""
    centred = cosines - cosines.mean(axis=1, keepdims=True)
    spread = np.maximum((centred**2).sum(axis=1), 1e-12)
    rise = (centred * (logits - logits.mean(axis=1, keepdims=True))).sum(axis=1) / spread
    return np.asarray(np.maximum(rise, 0.0), dtype=np.float64)


def apart(trained: Floats32) -> float:
    """The cosine half of the trained classes do not reach with their nearest other class."""
    cosines = trained @ trained.T
    np.fill_diagonal(cosines, -1.0)
    return float(np.median(cosines.max(axis=1)))


def with_gallery(recogniser: Recogniser, gallery: Gallery) -> Recogniser:
    """The recogniser with the gallery's drugs as classes after its own."""
    if not gallery.entries:
        return recogniser
    fitted, classes = recogniser.calibration, recogniser.classes
    trained, enrolled = fitted.class_means, gallery.means
    more = pd.DataFrame(
        {
            "class_index": np.arange(len(gallery.entries)) + len(classes),
            "mapping_code": gallery.codes,
            "drug_name": [entry.drug_name for entry in gallery.entries],
            "edi_codes": ["|".join(entry.edi_codes) for entry in gallery.entries],
        }
    )
    return Recogniser(
        recogniser.detector,
        GalleryNamer(recogniser.classifier, enrolled, fitted),
        replace(fitted, class_means=np.concatenate([trained, enrolled])),
        pd.concat([classes, more], ignore_index=True),
        recogniser.batch_size,
    )


def enrol(
    recogniser: Recogniser, gallery: Gallery, options: EnrolOptions, max_pixels: int
) -> Gallery:
    """The gallery with the photos of a drug; DataError lists every photo that cannot be used.

    `recogniser` is the trained one, without a gallery.
    """
    trained = [str(code) for code in recogniser.classes["mapping_code"]]
    if options.code in trained:
        raise DataError(f"{options.code} is a trained class already.", "Nothing is to be done.")
    photos, problems = [], []
    for path in options.images:
        try:
            photos.append(_photo(recogniser, path, options.single, max_pixels))
        except UserError as error:
            problems.append(error.fact)
    if problems:
        raise DataError("\n".join(problems), "Leave these photos out, or take them again.")
    entry = Entry(options.code, options.drug_name, options.edi_codes, tuple(photos))
    changed = galleries.with_photos(gallery, entry)
    whole = next(entry for entry in changed.entries if entry.code == options.code)
    others = [entry for entry in gallery.entries if entry.code != options.code]
    means = np.stack([*recogniser.calibration.class_means, *(entry.mean for entry in others)])
    twin = galleries.twin_of(whole, means, [*trained, *(entry.code for entry in others)])
    if twin is not None and not options.twin:
        raise DataError(
            f"{options.code}: {twin[1]} of {len(whole.photos)} photos look more like "
            f"{twin[0]} than like each other.",
            "The two would be confused: train on both, or enrol it all the same with --twin.",
        )
    return changed


def _photo(recogniser: Recogniser, path: Path, single: bool, max_pixels: int) -> Photo:
    frame = pictures.read(path, max_pixels)
    reading = recogniser.read([frame])[0]
    if len(reading.box) != 1:
        raise DataError(
            f"{path}: {len(reading.box)} pills found, one is needed.",
            "Photograph one pill alone" + ("." if single else ", or give its crop with --single."),
        )
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Photo(path.name, sha256, reading.embeddings[0])


def listing(gallery: Gallery) -> Sequence[tuple[str, str, int]]:
    """Code, name and number of photos of each enrolled drug."""
    return [(entry.code, entry.drug_name, len(entry.photos)) for entry in gallery.entries]
