"""Montages of confusions, of frames with their detections, and of unknown pills."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pillsnap import files
from pillsnap.arrays import Floats32, Ints, Pixels
from pillsnap.dataset.crops import CropStore
from pillsnap.dataset.frames import FrameStore
from pillsnap.evaluation import breakdown, matching
from pillsnap.evaluation.answers import Answers, CropAnswers, FrameAnswer
from pillsnap.fonts import korean_font_path
from pillsnap.params import EvaluateParams
from pillsnap.places import Places
from pillsnap.recognition import scores
from pillsnap.recognition.calibration import Calibration
from pillsnap.recognition.certainty import percent

Font = ImageFont.FreeTypeFont

PICTURE_PX, FRAME_PX, GAP_PX, LINE_PX = 132, 460, 12, 20
INK, PALE, PAPER, EMPTY = "#1a1a1a", "#666666", "#ffffff", "#eeeeee"
# Okabe & Ito's palette, distinct for colour-blind readers too
COLOURS = {
    "right": "#009e73",
    "wrong_name": "#d55e00",
    "known_refused": "#56b4e9",
    "unknown_taken_for_known": "#cc79a7",
    "missed": "#f0e442",
    "duplicated": "#e69f00",
    "false_box": "#e69f00",
}
CARDS, FRAMES = 12, 6  # as many as one screen holds


@dataclass(frozen=True)
class Card:
    """Pictures in a row, each with a caption, and lines of text under them."""

    pictures: tuple[tuple[Pixels | None, str], ...]
    lines: tuple[str, ...]


def draw(
    out: Path,
    answered: Answers,
    fitted: Calibration,
    classes: pd.DataFrame,
    places: Places,
    options: EvaluateParams,
) -> None:
    """Write confusions.png, unknown.png and detections.png into a folder."""
    stores = {split: CropStore(places.crops(split)) for split in ("val", "test")}
    wrong = confusion_cards(answered.val, fitted, classes, stores["val"])
    save(out / "confusions.png", montage(wrong, 3, "val: no known pill was misclassified"))
    unknown = unknown_cards(answered, fitted, classes, stores)
    save(out / "unknown.png", montage(unknown, 3, "test holds no unknown pill"))
    frames, store = answered.val_frames.frames, FrameStore(places.frames("val"))
    pictures = [
        framed(store.decode(i), frames[i], classes, options.match_iou)
        for i in choose(frames, options.match_iou)
    ]
    save(out / "detections.png", frame_montage(pictures))


def confusion_cards(
    val: CropAnswers, fitted: Calibration, classes: pd.DataFrame, store: CropStore
) -> list[Card]:
    """The most frequent confusions: the pill, its own class, the predicted class."""
    rows = np.flatnonzero(val.table["known"].to_numpy(dtype=bool))
    known = val.known()
    truth, predicted = known.truth, known.logits.argmax(axis=1)
    confidence = scores.confidences(known.logits, fitted.temperature)
    side = known.table["direction"].to_numpy()
    cards = []
    for pair in breakdown.confusions(truth, predicted, confidence)[:CARDS]:
        pair_of = (pair.true, pair.predicted)
        examples = [_example(truth, predicted, side, index, pair.row) for index in pair_of]
        own, other = (None if row is None else store.decode(int(rows[row])) for row in examples)
        pill = (store.decode(int(rows[pair.row])), f"confidence {percent(confidence[pair.row])}")
        cards.append(
            Card(
                (pill, (own, "true class"), (other, "predicted class")),
                (
                    f"true {label(classes, pair.true)}",
                    f"predicted {label(classes, pair.predicted)}",
                    f"{pair.count} of {(truth == pair.true).sum()} pills",
                ),
            )
        )
    return cards


def unknown_cards(
    answered: Answers, fitted: Calibration, classes: pd.DataFrame, stores: dict[str, CropStore]
) -> list[Card]:
    """Unknown pills of test, one of each code: half of the cards the accepted ones of the highest
    scores, the others the refused ones of the lowest; each with the nearest class."""
    rows = np.flatnonzero(~answered.test.table["known"].to_numpy(dtype=bool))
    pills = answered.test.known(False)
    score = fitted.refusal_score(pills.outputs)
    order = np.argsort(-score, kind="stable")
    codes = pills.codes
    passed = score[order] >= fitted.threshold
    accepted = first_of_each(order[passed], codes)[: CARDS // 2]
    refused = first_of_each(order[~passed][::-1], codes)[: CARDS - len(accepted)]
    truth = answered.val.truth
    cards = []
    for row in [*accepted, *refused]:
        near = int(pills.logits[row].argmax())
        example = next(iter(np.flatnonzero(truth == near)), None)
        like = None if example is None else stores["val"].decode(int(example))
        verdict = "accepted" if score[row] >= fitted.threshold else "refused"
        cards.append(
            Card(
                ((stores["test"].decode(int(rows[row])), verdict), (like, "nearest class")),
                (
                    f"unknown {codes[row]}: {verdict}",
                    f"nearest {label(classes, near)}",
                    f"score {score[row]:.3f}, threshold {fitted.threshold:.3f}",
                ),
            )
        )
    return cards


def label(classes: pd.DataFrame, index: int) -> str:
    """Code, name and imprints of a class."""
    row = classes.iloc[index]
    imprints = " / ".join(str(row[key]) or "–" for key in ("print_front", "print_back"))
    return f"{row['mapping_code']} {row['drug_name']} [{imprints}]"


def choose(frames: Sequence[FrameAnswer], match_iou: float) -> list[int]:
    """Frames to show, one of a capture group: half of them the ones with most errors, the others
    right, crowded first."""
    matches = [frame.match(match_iou) for frame in frames]
    errors = np.array([sum(m.errors().values()) for m in matches], dtype=np.int64)
    pills = np.array([len(m.labelled) for m in matches], dtype=np.int64)
    order = np.lexsort((-pills, -errors))
    groups = np.array([frame.group_id for frame in frames], dtype=object)
    wrong = first_of_each(order[errors[order] > 0], groups)
    right = first_of_each(order[errors[order] == 0], groups)
    chosen = wrong[: max(FRAMES // 2, FRAMES - len(right))]
    return [*right[: FRAMES - len(chosen)], *chosen]


def first_of_each(order: Ints, names: NDArray[Any]) -> list[int]:
    """Of indices in order, the first of each name."""
    first: dict[str, int] = {}
    for index in order.tolist():
        first.setdefault(str(names[index]), index)
    return list(first.values())


def framed(
    pixels: Pixels, frame: FrameAnswer, classes: pd.DataFrame, match_iou: float
) -> Image.Image:
    """A frame with its boxes, coloured by the outcome of each pill, and their classes."""
    scale = FRAME_PX / pixels.shape[1]
    size = (FRAME_PX, round(pixels.shape[0] * scale))
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.BOX)
    pen = ImageDraw.Draw(picture)
    outcome = frame.match(match_iou)
    for box, what in zip(frame.labelled, outcome.labelled, strict=True):
        if what == "missed":
            _mark(pen, box * scale, "missed", COLOURS[what], size)
    partner = dict(outcome.pairs)
    for row, what in enumerate(outcome.predicted):
        text = _name(frame, row, classes) if what != "duplicated" else "duplicated"
        if what in ("wrong_name", "known_refused"):
            true = int(frame.labelled_class[partner[row]])
            text += f", true {classes['mapping_code'].iloc[true]}"
        _mark(pen, frame.predicted[row] * scale, text, COLOURS[what], size)
    return picture


def frame_montage(pictures: Sequence[Image.Image]) -> Image.Image:
    """Frames in rows of three under a legend of the colours."""
    if not pictures:
        return montage([], 1, "val holds no frames")
    columns = min(3, len(pictures))
    width = columns * (FRAME_PX + GAP_PX) + GAP_PX
    tall = max(picture.height for picture in pictures) + GAP_PX
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (max(width, 3 * FRAME_PX), rows * tall + 3 * LINE_PX), PAPER)
    pen = ImageDraw.Draw(sheet)
    legend_px = GAP_PX
    for what in (matching.RIGHT, *matching.ERRORS):
        pen.rectangle((legend_px, 18, legend_px + 14, 32), fill=COLOURS[what], outline=PALE)
        text = what.replace("_", " ")
        pen.text((legend_px + 20, 14), text, fill=INK, font=font(16))
        legend_px += 20 + round(font(16).getlength(text)) + 24
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        sheet.paste(picture, (GAP_PX + column * (FRAME_PX + GAP_PX), 3 * LINE_PX + row * tall))
    return sheet


def montage(cards: Sequence[Card], columns: int, nothing: str) -> Image.Image:
    """Cards in rows; without any, a sheet that says why."""
    if not cards:
        sheet = Image.new("RGB", (640, 3 * LINE_PX), PAPER)
        ImageDraw.Draw(sheet).text((GAP_PX, LINE_PX), nothing, fill=INK, font=font(16))
        return sheet
    drawn = [card_picture(card) for card in cards]
    columns = min(columns, len(drawn))
    width = max(picture.width for picture in drawn) + GAP_PX
    height = max(picture.height for picture in drawn) + GAP_PX
    rows = -(-len(drawn) // columns)
    sheet = Image.new("RGB", (columns * width + GAP_PX, rows * height + GAP_PX), PAPER)
    for index, picture in enumerate(drawn):
        row, column = divmod(index, columns)
        sheet.paste(picture, (GAP_PX + column * width, GAP_PX + row * height))
    return sheet


def card_picture(card: Card) -> Image.Image:
    """One card: captions, pictures, lines."""
    width = 3 * (PICTURE_PX + GAP_PX)
    height = LINE_PX + PICTURE_PX + 6 + LINE_PX * len(card.lines)
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for index, (pixels, caption) in enumerate(card.pictures):
        left = index * (PICTURE_PX + GAP_PX)
        pen.text((left, 0), caption, fill=PALE, font=font(13))
        pen.rectangle((left, LINE_PX, left + PICTURE_PX, LINE_PX + PICTURE_PX), fill=EMPTY)
        if pixels is not None:
            square = Image.fromarray(pixels).resize((PICTURE_PX, PICTURE_PX), Image.Resampling.BOX)
            sheet.paste(square, (left, LINE_PX))
    for index, line in enumerate(card.lines):
        top = LINE_PX + PICTURE_PX + 6 + index * LINE_PX
        pen.text((0, top), fitting(line, font(14), width), fill=INK, font=font(14))
    return sheet


def fitting(text: str, face: Font, width_px: int) -> str:
    """The text, cut with an ellipsis to what fits."""
    if face.getlength(text) <= width_px:
        return text
    while text and face.getlength(text + "…") > width_px:
        text = text[:-1]
    return text + "…"


@cache
def font(size_px: int, bold: bool = False) -> Font:
    """NanumGothic."""
    return ImageFont.truetype(str(korean_font_path(bold)), size_px)


def save(path: Path, picture: Image.Image) -> None:
    """A PNG without dates: equal pictures give equal bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    files.write_bytes(path, buffer.getvalue())


def _name(frame: FrameAnswer, row: int, classes: pd.DataFrame) -> str:
    index = int(frame.predicted_class[row])
    if index < 0:
        return "unknown"
    name = classes.iloc[index]
    return f"{name['mapping_code']} {name['drug_name']} {percent(frame.confidence[row])}"


def _mark(
    pen: ImageDraw.ImageDraw,
    box: Floats32,
    text: str,
    colour: str,
    size: tuple[int, int],
) -> None:
    left, top, end, bottom = (float(side) for side in box)
    pen.rectangle((left, top, end, bottom), outline=colour, width=3)
    text = fitting(text, font(13, bold=True), size[0] - 8)
    width = font(13, bold=True).getlength(text) + 6
    left = min(max(left, 0.0), size[0] - width)
    top = top - 18 if top >= 18 else min(bottom, size[1] - 18)
    pen.rectangle((left, top, left + width, top + 18), fill=colour)
    ink = INK if colour in ("#f0e442", "#56b4e9", "#e69f00", "#cc79a7") else PAPER
    pen.text((left + 3, top + 1), text, fill=ink, font=font(13, bold=True))


def _example(truth: Ints, predicted: Ints, side: Ints, index: int, but: int) -> int | None:
    """A pill of a class, preferably classified right and seen from the same side as pill `but`."""
    of_class = np.flatnonzero((truth == index) & (np.arange(len(truth)) != but))
    if not len(of_class):
        return None
    worth = 2 * (side[of_class] == side[but]) + (predicted[of_class] == index)
    return int(of_class[np.argmax(worth)])
