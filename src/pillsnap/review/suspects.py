"""Finds suspicious labels, by the detector, the classifier and near copies, and ranks them.

Every suspect has a score, about the probability that its label is wrong; several reasons against
one label add up. A model fits wrong labels of its train pills too: their labels are compared with
the K nearest pills of other capture groups instead (embeddings of the classifier). For val and
test, which it was not trained on, the probability that it gives the label counts as well (the
self-confidence of Northcutt et al. 2021, Confident Learning).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pillsnap import boxes
from pillsnap.arrays import Bools, Floats, Floats32, Ints, Pixels
from pillsnap.boxes import Boxes
from pillsnap.dataset import manifest, pixels
from pillsnap.dataset.crops import CropStore
from pillsnap.dataset.findings import Findings
from pillsnap.manifest.corrections import BOX, Box, Correction
from pillsnap.places import Places
from pillsnap.recognition import scores
from pillsnap.recognition.recogniser import Recogniser, whole_pixels
from pillsnap.review.photos import Photos
from pillsnap.validation import split_checks

Progress = Callable[[int, int], None]
NEIGHBOURS = 10
BLOCK = 1 << 24  # similarities at once: 64 MB
LEAST_DOUBT = 0.5  # of a label: others are more probable
LOW_CONFIDENCE = 0.01  # boxes below the operating point that still support a label a little
TOUCHING = 0.05  # IoU from which an unmatched box and an unmatched label are the same pill
NEAR_COPY = 0.05  # score: the label is probably right


@dataclass(frozen=True)
class Suspect:
    """A label, or with code "" a found box without a label; boxes x, y, width, height in pixels."""

    image_path: str
    split: str
    image_type: str
    code: str
    box: Box
    score: float  # 0..1, about the probability that the label is wrong
    reasons: tuple[str, ...]  # unlabelled, not_found, box, class, imprint, near_copy
    found_box: Box = ()
    nearest: str = ""  # the likeliest other code
    probability: float = 0.0  # of the nearest
    read: str = ""  # the imprint
    note: str = ""

    @property
    def key(self) -> tuple[str, str, Box]:
        """Photo, code and box: one label."""
        return self.image_path, self.code, self.box


@dataclass(frozen=True)
class Crops:
    """What the classifier says about every crop, in the order of the stores."""

    rows: pd.DataFrame  # the stores' columns, `split`, `row` in the store, `perceptual_hash`
    doubt: Floats  # [n] 1 - probability of the label; 0 where its code is no class
    nearest: Ints  # [n] the likeliest class besides the label's
    probability: Floats  # [n] of the nearest


def of_crops(recogniser: Recogniser, places: Places, progress: Progress) -> Crops:
    """Run the classifier on all crops."""
    parts, embedded, chances, hashes = [], [], [], list[int]()
    stores = {split: CropStore(places.crops(split)) for split in manifest.SPLITS}
    count = sum(map(len, stores.values()))
    for split, store in stores.items():
        parts.append(store.table.assign(split=split, row=range(len(store))))
        for start in range(0, len(store), recogniser.batch_size):
            stop = min(start + recogniser.batch_size, len(store))
            pictures = np.stack([store.decode(row) for row in range(start, stop)])
            hashes += map(pixels.perceptual_hash, pictures)
            logits, embeddings = recogniser.classify(pictures)
            embedded.append(embeddings)
            chances.append(
                scores.probabilities(logits, recogniser.calibration.temperature).astype(np.float32)
            )
            progress(len(hashes), count)
    rows = pd.concat(parts, ignore_index=True)
    rows["perceptual_hash"] = np.array(hashes, dtype=np.uint64)
    return _judged(rows, np.concatenate(embedded), np.concatenate(chances))


def _judged(rows: pd.DataFrame, embeddings: Floats32, chances: Floats32) -> Crops:
    of_label, known = rows["class_index"].to_numpy(), rows["known"].to_numpy(dtype=bool)
    shares = neighbour_shares(rows, embeddings, chances.shape[1])
    out_of_sample = (rows["split"] != "train").to_numpy()
    mixed = np.where(out_of_sample[:, None], (shares + chances) / 2, shares)
    at = np.arange(len(rows))
    doubt = np.where(known, 1 - mixed[at, of_label], 0.0)
    mixed[at[known], of_label[known]] = -1.0
    nearest = mixed.argmax(axis=1)
    return Crops(rows, doubt, nearest, np.maximum(mixed[at, nearest], 0.0))


def neighbour_shares(rows: pd.DataFrame, embeddings: Floats32, classes: int) -> Floats32:
    """[n, classes]: labels of the NEIGHBOURS nearest known train pills of other capture groups."""
    usable = ((rows["split"] == "train") & rows["known"]).to_numpy(dtype=bool)
    group = pd.factorize(rows["group_id"])[0]
    labels, theirs, groups = (
        rows["class_index"].to_numpy()[usable],
        embeddings[usable],
        group[usable],
    )
    shares = np.zeros((len(rows), classes), np.float32)
    count = min(NEIGHBOURS, len(labels))
    step = max(1, BLOCK // max(1, len(labels)))
    for start in range(0, len(rows) if count else 0, step):
        part = slice(start, start + step)
        similar = embeddings[part] @ theirs.T
        similar[group[part, None] == groups[None, :]] = -np.inf
        best = np.argpartition(-similar, count - 1, axis=1)[:, :count]
        number = np.broadcast_to(np.arange(len(best))[:, None], best.shape)
        np.add.at(shares[part], (number, labels[best]), 1 / count)
    return shares


def by_class(crops: Crops, codes: list[str]) -> Iterator[Suspect]:
    """Labels that the classifier and the nearest pills contradict."""
    for at in np.flatnonzero(crops.doubt >= LEAST_DOUBT).tolist():
        yield _label(crops, at, codes, float(crops.doubt[at]), "class")


def near_copies(crops: Crops, codes: list[str], distance: int) -> Iterator[Suspect]:
    """Pills of val and test that look like a train pill of their code, as validate finds them."""
    paths = crops.rows["image_path"].to_numpy()
    for bits, at, near in split_checks.check_near_duplicates(crops.rows, distance, Findings()):
        suspect = _label(crops, at, codes, NEAR_COPY / (1 + bits), "near_copy")
        yield replace(suspect, note=f"{paths[near]} (train)")


def _label(crops: Crops, at: int, codes: list[str], score: float, reason: str) -> Suspect:
    row = crops.rows.iloc[at]
    return Suspect(
        image_path=row["image_path"],
        split=row["split"],
        image_type=row["image_type"],
        code=row["mapping_code"],
        box=tuple(int(row[name]) for name in BOX),
        score=score,
        reasons=(reason,),
        nearest=codes[crops.nearest[at]],
        probability=float(crops.probability[at]),
    )


def by_detector(
    recogniser: Recogniser, photos: Photos, match_iou: float, progress: Progress
) -> Iterator[Suspect]:
    """Found boxes without a label, labels without a found box, and labels whose box differs."""
    fitted = recogniser.calibration
    groups = list(photos.labels.groupby("image_path", sort=False))
    for done, (_, labels) in enumerate(groups, start=1):
        progress(done, len(groups))
        first = labels.iloc[0]
        picture = photos.picture(first["image_path"], first["split"], first["image_type"])
        if picture is None:
            continue
        found, confidence = recogniser.detector.detect(
            [picture], LOW_CONFIDENCE, fitted.detection_iou
        )[0]
        sides = first[["image_width", "image_height"]].to_numpy(dtype=np.float32)
        scaled = found * np.tile(sides / picture.shape[1::-1], 2).astype(np.float32)
        known = boxes.from_xywh(labels[list(BOX)].to_numpy())
        seen = confidence >= fitted.detection_confidence
        found_xywh = whole_pixels(scaled, int(sides[0]), int(sides[1]))
        for label, box, score, reason in compared(known, scaled, confidence, seen, match_iou):
            row = first if label is None else labels.iloc[label]
            suspect = Suspect(
                image_path=row["image_path"],
                split=row["split"],
                image_type=row["image_type"],
                code="" if label is None else row["mapping_code"],
                box=tuple(map(int, found_xywh[box] if label is None else row[list(BOX)])),
                score=score,
                reasons=(reason,),
                found_box=() if box is None else tuple(found_xywh[box].tolist()),
            )
            if box is not None:
                suspect = _named(recogniser, picture, found[box], suspect)
            yield suspect


def compared(
    labels: Boxes, found: Boxes, confidence: Floats32, seen: Bools, match_iou: float
) -> Iterator[tuple[int | None, int | None, float, str]]:
    """Label, found box, score and reason of what does not match in one photo.

    `seen` [found]: at or above the detector's operating point.
    """
    overlap = boxes.iou(labels, found)
    matched = overlap >= match_iou
    support = np.where(matched, confidence, 0.0).max(axis=1, initial=0.0)
    unmatched: Bools = np.logical_not((matched & seen).any(axis=1))
    for box in np.flatnonzero(seen & ~matched.any(axis=0)).tolist():
        column = np.where(unmatched, overlap[:, box], 0.0)
        if column.max(initial=0.0) >= TOUCHING:
            label = int(column.argmax())
            unmatched[label] = False
            yield label, box, float(confidence[box]), "box"
        else:  # over another label: less likely a pill of its own
            apart = 1 - float(overlap[:, box].max(initial=0.0))
            yield None, box, float(confidence[box]) * apart, "unlabelled"
    for label in np.flatnonzero(unmatched).tolist():
        yield label, None, 1 - float(support[label]), "not_found"


def _named(recogniser: Recogniser, picture: Pixels, box: Floats32, suspect: Suspect) -> Suspect:
    """With the code that the classifier gives the found box, for an added pill."""
    if suspect.code:
        return suspect
    whole = whole_pixels(box[None], picture.shape[1], picture.shape[0])
    logits, _ = recogniser.classify(recogniser.cut(picture, whole))
    chances = scores.probabilities(logits, recogniser.calibration.temperature)[0]
    best = int(chances.argmax())
    code = str(recogniser.classes["mapping_code"].iloc[best])
    return replace(suspect, nearest=code, probability=float(chances[best]))


def ranked(suspects: Iterator[Suspect], answered: list[Correction]) -> list[Suspect]:
    """One list, the most suspect first: one entry for a label, without the answered ones."""
    joined: dict[tuple[str, str, Box], Suspect] = {}
    for new in suspects:
        old = joined.get(new.key)
        if old is None:
            joined[new.key] = new
            continue
        joined[new.key] = replace(
            old,
            score=1 - (1 - old.score) * (1 - new.score),
            reasons=(*old.reasons, *new.reasons),
            found_box=old.found_box or new.found_box,
            nearest=old.nearest or new.nearest,
            probability=max(old.probability, new.probability),
            note=old.note or new.note,
        )
    rows: dict[str, list[Correction]] = {}
    for row in answered:
        rows.setdefault(row.image_path, []).append(row)
    left = [
        one
        for one in joined.values()
        if not any(_answers(row, one) for row in rows.get(one.image_path, ()))
    ]
    return sorted(left, key=lambda one: (-one.score, one.key))


def _answers(row: Correction, suspect: Suspect) -> bool:
    """Whether a correction is about this label, before or after it."""
    codes = {row.mapping_code, row.new_code}
    if suspect.code:
        here = not row.box or row.action == "move" or row.box == suspect.box
        return suspect.code in codes and here
    if not row.box:
        return False
    pair = boxes.from_xywh(np.array([row.box, suspect.box]))
    return bool(boxes.iou(pair[:1], pair[1:])[0, 0] >= LEAST_DOUBT)
