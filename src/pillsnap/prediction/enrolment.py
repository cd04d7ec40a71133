"""A recogniser with a gallery's drugs as further classes, and how drugs are enrolled."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype

from pillsnap import files
from pillsnap.arrays import Floats, Floats32, Pixels
from pillsnap.dataset import pictures
from pillsnap.errors import DataError, UserError
from pillsnap.prediction import gallery as galleries
from pillsnap.prediction.gallery import ANGLES, EnrolledPhoto, Entry, Gallery
from pillsnap.recognition.calibration import Calibration
from pillsnap.recognition.centres import Centres, normalised
from pillsnap.recognition.models import Classifier
from pillsnap.recognition.recogniser import Recogniser

PRIOR = 100  # photos whose turns count as much as the training set's spread
FAR = 10.0  # logits: e^-10 of the probability, which changes no other one and no refusal


class GalleryClassifier:
    """A classifier with one more output for each enrolled drug.

    A pill is given an enrolled drug's code if its embedding is more like that drug than like every
    trained class, and as like it as the trained classes are like each other. The drug's logit then
    exceeds the best trained one by the difference of the two likenesses times the pill's own slope
    (of its logits over its likenesses), and is high enough to be accepted. Otherwise the logit is
    so low that the trained classes keep their ranks, probabilities and refusals. Likenesses are of
    embeddings whose square roots are whitened, of length 1.
    """

    def __init__(self, classifier: Classifier, gallery: Gallery, fitted: Calibration) -> None:
        self._classifier, spread = classifier, fitted.centres.spread
        self._whitening = whitening(spread, gallery.photos)
        self._trained, self._enrolled = (
            Centres(normalised(rooted(means) @ self._whitening), np.zeros_like(spread))
            for means in (fitted.centres.means, gallery.means)
        )
        # The score of likeness refuses by itself; the others do not see the enrolled drugs.
        refuses = fitted.score == "mahalanobis"
        self._least = -np.inf if refuses else float(np.median(self._trained.between().max(axis=1)))
        self._accepted_logit = fitted.threshold if fitted.score == "energy" else -np.inf

    @property
    def config(self) -> Mapping[str, Any]:
        """The classifier's own."""
        return self._classifier.config

    def classify(self, crops: Pixels) -> tuple[Floats32, Floats32]:
        """Logits [n, trained + enrolled] and embeddings [n, d]."""
        logits, embeddings = self._classifier.classify(crops)
        white = normalised(rooted(embeddings) @ self._whitening)
        own, trained = self._enrolled.likeness(white), self._trained.likeness(white)
        nearer = own - trained.max(axis=1, keepdims=True)
        best = logits.max(axis=1, keepdims=True)
        accepted = (nearer > 0) & (own >= self._least)
        rise = slopes(logits, trained)[:, None] * nearer
        winning = np.maximum(best, self._accepted_logit) + rise
        more = np.where(accepted, winning, best - FAR + np.minimum(rise, 0.0))
        return np.concatenate([logits, more], axis=1).astype(np.float32), embeddings


def rooted(embeddings: Floats) -> Floats32:
    """[..., d] of length 1: signed square roots, so that few large values do not decide alone
    (Perronnin et al. 2010)."""
    return normalised(np.sign(embeddings) * np.sqrt(np.abs(embeddings)))


def whitening(spread: Floats32, photos: Sequence[EnrolledPhoto]) -> Floats32:
    """Matrix [d, d] by which `rooted` embeddings are multiplied, so that those of one drug differ
    equally in all directions. How they differ is known from the training set (`spread` of its
    centres, [k, d]) and from the turns of the photos, which count the more, the more there are."""
    narrow = np.maximum(1 - (spread**2).sum(axis=1), 1e-6)  # an embedding may have collapsed
    trained = np.eye(spread.shape[1]) + (spread.T / narrow) @ spread
    turned = np.stack([rooted(photo.turned) for photo in photos])  # [photos, ANGLES, d]
    means = normalised(turned.mean(axis=1, keepdims=True))
    along = (turned * means).sum(axis=2, keepdims=True)
    off = (turned - along * means).reshape(-1, spread.shape[1])
    by_turns = (off.T @ off).astype(np.float64)
    weight = len(photos) / PRIOR * np.trace(trained) / max(np.trace(by_turns), 1e-12)
    root = np.linalg.cholesky(trained + weight * by_turns)
    return np.asarray(np.linalg.inv(root).T, dtype=np.float32)


def slopes(logits: Floats32, likeness: Floats32) -> NDArray[np.float64]:
    """Slope of a pill's logits over its likenesses, by least squares over the classes; both
    [n, classes] -> [n]."""
    centred = likeness - likeness.mean(axis=1, keepdims=True)
    spread = np.maximum((centred**2).sum(axis=1), 1e-12)
    rise = (centred * (logits - logits.mean(axis=1, keepdims=True))).sum(axis=1) / spread
    return np.asarray(np.maximum(rise, 0.0), dtype=np.float64)


def with_gallery(recogniser: Recogniser, gallery: Gallery) -> Recogniser:
    """The recogniser with the gallery's drugs as classes after its own."""
    if not gallery.entries:
        return recogniser
    fitted, classes = recogniser.calibration, recogniser.classes
    blank = {name: 0 if is_numeric_dtype(kind) else "" for name, kind in classes.dtypes.items()}
    more = pd.DataFrame(
        blank
        | {
            "class_index": len(classes) + i,
            "mapping_code": entry.code,
            "drug_name": entry.drug_name,
            "edi_codes": "|".join(entry.edi_codes),
        }
        for i, entry in enumerate(gallery.entries)
    )
    return Recogniser(
        recogniser.detector,
        GalleryClassifier(recogniser.classifier, gallery, fitted),
        replace(fitted, centres=fitted.centres.joined(gallery.means)),
        pd.concat([classes, more], ignore_index=True),
        recogniser.batch_size,
    )


def enrol(
    recogniser: Recogniser,
    gallery: Gallery,
    drug: Entry,
    images: Sequence[Path],
    max_pixels: int,
    twin: bool = False,
) -> Gallery:
    """The gallery with the photos of a drug; `recogniser` is the trained one, without a gallery.
    DataError lists every photo that cannot be used, or names a look-alike unless `twin`."""
    trained = [str(code) for code in recogniser.classes["mapping_code"]]
    if drug.code in trained:
        raise DataError(f"{drug.code} is a trained class already.", "There is nothing to enrol.")
    photos, problems = [], []
    for path in images:
        try:
            photos.append(_photo(recogniser, path, max_pixels))
        except UserError as error:
            problems.append(error.fact)
    if problems:
        raise DataError("\n".join(problems), "Leave these photos out, or take them again.")
    changed = galleries.with_photos(gallery, replace(drug, photos=tuple(photos)))
    whole = next(entry for entry in changed.entries if entry.code == drug.code)
    rest = [entry for entry in gallery.entries if entry.code != drug.code]
    others = recogniser.calibration.centres
    if rest:
        others = others.joined(np.stack([entry.means for entry in rest]))
    found = galleries.twin_of(whole, others, [*trained, *(entry.code for entry in rest)])
    if found is not None and not twin:
        count = f"{found[1]} of {len(whole.photos)} photos"
        fact = f"{drug.code}: {count} look more like {found[0]} than like each other."
        cure = "The two would be confused: train on both, or enrol it anyway with --twin."
        raise DataError(fact, cure)
    return changed


def _photo(recogniser: Recogniser, path: Path, max_pixels: int) -> EnrolledPhoto:
    frame = pictures.read(path, max_pixels).pixels
    box, _ = recogniser.detect([frame])[0]
    if len(box) != 1:
        fact = f"{path}: {len(box)} pills found, one is needed."
        raise DataError(fact, "Photograph one pill alone, or give its crop with --single.")
    turned = turned_of(recogniser, recogniser.cut(frame, box)[0])
    return EnrolledPhoto(path.name, files.sha256_of(path), turned)


def turned_of(classifier: Classifier | Recogniser, crop: Pixels) -> Floats32:
    """Embeddings [ANGLES, d] of a crop [c, c, 3] at so many angles, its edge replicated as in
    training; each is the mean of four quarter turns."""
    middle, views = (len(crop) - 1) / 2, []
    for angle in range(ANGLES):
        move = cv2.getRotationMatrix2D((middle, middle), 90 * angle / ANGLES, 1)
        view = cv2.warpAffine(crop, move, crop.shape[:2], borderMode=cv2.BORDER_REPLICATE)
        views += [np.rot90(view, quarter) for quarter in range(4)]
    embeddings = classifier.classify(np.stack(views))[1]
    return np.asarray(embeddings.reshape(ANGLES, 4, -1).mean(axis=1), np.float32)
