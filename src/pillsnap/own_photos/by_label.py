"""Photos with labels, AI Hub's in any folders or a YOLO or COCO set: which label belongs to which
photo, and the metrics of the pipeline on them, computed as in evaluation.json.

AI Hub's photo and label have the same file name but for the extension; a combination photo has a
label per pill. Only dl_mapping_code, drug_N and the label's folder identify a pill.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pillsnap import boxes
from pillsnap.aihub.decoding import BOM
from pillsnap.aihub.labels import Expected, Label, parse
from pillsnap.aihub.reading import LARGEST_LABEL_BYTES
from pillsnap.boxes import Boxes
from pillsnap.dataset import pictures, source
from pillsnap.dataset.findings import Findings
from pillsnap.dataset.manifest import UNKNOWN
from pillsnap.dataset.names import CODE, code_of, nfc, parse_codes
from pillsnap.evaluation import sections
from pillsnap.evaluation.answers import FrameAnswer, FrameSet
from pillsnap.files import Json
from pillsnap.formats import listing, photo_set
from pillsnap.formats.photo_set import BoxedPhoto
from pillsnap.own_photos import gap
from pillsnap.params import EvaluateParams
from pillsnap.prediction import predict
from pillsnap.prediction.load import Loaded
from pillsnap.recognition.recogniser import Pill


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo and its labelled pills."""

    path: Path
    codes: tuple[str, ...]
    box: Boxes  # [n, 4] x1 y1 x2 y2 in pixels of a photo of `size`
    size: tuple[int, int]  # width, height in the labels


def read(folder: Path, left_out: Findings) -> list[LabelledPhoto]:
    """The photos that have labels, sorted by name; `left_out` gets those that cannot be used.
    Empty, without a finding, if no label has a photo. Labels are AI Hub's, YOLO's or COCO's."""
    found_files = listing.walk(folder)
    form = photo_set.detect(folder, found_files)
    if form:
        own = photo_set.read(folder, form, found_files)
        left_out.merge(own.left_out)
        return [_of_form(folder, photo) for photo in own.photos]
    photos = _by_stem(pictures.in_folder(folder))
    labels = _by_stem(pictures.in_folder(folder, {".json"}))
    if not photos.keys() & labels.keys():
        return []
    for stem in sorted(labels.keys() - photos.keys()):
        left_out.add_all("label_without_photo", map(str, labels[stem]))
    found = (_photo(stem, photos[stem], labels.get(stem, []), left_out) for stem in sorted(photos))
    return [photo for photo in found if photo is not None]


def _of_form(folder: Path, photo: BoxedPhoto) -> LabelledPhoto:
    box = boxes.from_xywh(np.array([pill[1:] for pill in photo.pills], dtype=np.float32))
    factors = np.divide(photo.size_in_file, photo.size, dtype=np.float32)
    codes = tuple(code_of(pill.drug) for pill in photo.pills)
    return LabelledPhoto(
        folder / photo.image_path, codes, box * np.tile(factors, 2), photo.size_in_file
    )


def evaluate(
    loaded: Loaded, photos: Sequence[LabelledPhoto], left_out: Findings, options: EvaluateParams
) -> Json:
    """Metrics of the pipeline by kind of photo (gap.LIKE); `left_out` gets the photos that cannot
    be read or have another size than in their labels."""
    index_of = {code: i for i, code in enumerate(loaded.recogniser.classes["mapping_code"])}
    paths = [photo.path for photo in photos]
    kinds: dict[str, list[FrameAnswer]] = {name: [] for name in gap.LIKE}
    answers = predict.recognise(loaded, paths, 1)
    for photo, answer in zip(photos, answers, strict=True):
        if answer.error is not None:
            left_out.add("photo_unusable", answer.error.fact)
        elif answer.size != photo.size:
            sides = f"{answer.size}, the labels say {photo.size} (width, height)"
            left_out.add("photo_of_another_size", f"{photo.path}: {sides}")
        else:
            single = "single" if photo.codes[0] in index_of else "unknown"
            kind = "combination" if len(photo.codes) > 1 else single
            kinds[kind].append(frame_answer(photo, answer.pills, index_of, options.match_iou))
    sets = {kind: FrameSet(frames) for kind, frames in kinds.items() if frames}
    return {kind: sections.pipeline_of(own, own.rows()) for kind, own in sets.items()}


def frame_answer(
    photo: LabelledPhoto, pills: Sequence[Pill], index_of: Mapping[str, int], match_iou: float
) -> FrameAnswer:
    """Predicted and labelled pills of a photo, in the form that evaluate uses."""
    named = boxes.from_xywh(np.array([pill.box for pill in pills]))
    predicted_class = [UNKNOWN if pill.code is None else index_of[pill.code] for pill in pills]
    box_confidence = np.array([pill.box_confidence for pill in pills], dtype=np.float64)
    nothing = np.empty((len(pills), 0))
    return FrameAnswer(
        image_path=str(photo.path),
        image_type="single" if len(photo.codes) == 1 else "combination",
        group_id="-".join(photo.codes),
        labelled=photo.box,
        labelled_class=np.array([index_of.get(code, UNKNOWN) for code in photo.codes], np.int64),
        found=named,
        found_score=box_confidence,
        predicted=named,
        predicted_class=np.array(predicted_class, dtype=np.int64),
        box_confidence=box_confidence,
        confidence=np.array([pill.confidence for pill in pills], dtype=np.float64),
        refusal_score=np.full(len(pills), np.nan),
        top_class=nothing.astype(np.int64),
        top_probability=nothing,
        seconds=np.nan,  # photos share batches: there is no time of a single one
        match_iou=match_iou,
    )


def render(metrics: Mapping[str, Json]) -> list[str]:
    """A line per kind of photos: how many, and the errors of their pills."""
    return [
        f"{gap.LIKE[kind].photos}: {part['frames']} with {part['pills']} pills; "
        + ", ".join(f"{name} {count}" for name, count in part["errors"].items())
        for kind, part in metrics.items()
    ]


def _by_stem(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Paths by their name without extension, in NFC."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(nfc(path.stem), []).append(path)
    return found


def _photo(
    stem: str, paths: list[Path], label_paths: list[Path], left_out: Findings
) -> LabelledPhoto | None:
    path = paths[0]
    if len(paths) > 1:
        left_out.add("photo_twice", " and ".join(map(str, paths)))
        return None
    if not label_paths:
        left_out.add("photo_without_label", str(path))
        return None
    pills = list(_pills(path, label_paths, left_out))
    named = parse_codes(stem.partition("_")[0]) or ()
    if len(pills) < len(label_paths):
        return None  # reported already; without its label a pill would count as a false box
    if len(named) > len({code for code, _ in pills}):
        left_out.add("label_missing", f"{path}: {len(pills)} of {len(named)} pills are labelled")
        return None
    sizes = {(label.image_width, label.image_height) for _, label in pills}
    if len(sizes) > 1:
        left_out.add("labels_differ_in_size", f"{path}: {sorted(sizes)}")
        return None
    rows = sorted({(code, *label[:4]) for code, label in pills})
    box = boxes.from_xywh(np.array([row[1:] for row in rows], dtype=np.float32))
    return LabelledPhoto(path, tuple(row[0] for row in rows), box, sizes.pop())


def _pills(photo: Path, paths: list[Path], left_out: Findings) -> Iterator[tuple[str, Label]]:
    """Code and label of each label file that can be used."""
    for path in paths:
        try:
            content = source.read(path, LARGEST_LABEL_BYTES)
        except OSError as error:
            left_out.add("label_unreadable", f"{path}: {error.strerror}")
            continue
        folder = path.parent.name.removesuffix("_json")
        code = folder if CODE.fullmatch(folder) else _code_in(content)
        if not code:
            left_out.add("label_without_code", f"{path}: neither the label nor its folder has one")
            continue
        reading = parse(content, Expected(code, nfc(photo.name), 0, 0))
        if reading.label is None:
            left_out.add(reading.reason, f"{path}: {reading.detail}".rstrip(": "))
            continue
        yield code, reading.label


def _code_in(content: bytes) -> str:
    """The code in a label; "" if there is none (`parse` refuses contradictions)."""
    try:
        image = json.loads(content.removeprefix(BOM))["images"][0]
        found = [nfc(str(image.get(key))).strip().upper() for key in ("dl_mapping_code", "drug_N")]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""
    return next((code for code in found if CODE.fullmatch(code)), "")
