"""A montage of frames with their detections; the drawing that `cards` shares."""

import io
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pillsnap.arrays import Floats32, Ints, Pixels
from pillsnap.evaluation import matching
from pillsnap.evaluation.answers import FrameAnswer, FrameSet
from pillsnap.fonts import korean_font_path
from pillsnap.recognition.certainty import percent

Font = ImageFont.FreeTypeFont
Pen = ImageDraw.ImageDraw
Place = tuple[float, float, float, float]  # left, top, right, bottom

FRAME_PX, GAP_PX, LINE_PX, LEGEND_PX = 460, 12, 20, 940
INK, PALE, PAPER, EMPTY = "#1a1a1a", "#666666", "#ffffff", "#eeeeee"
# Okabe & Ito's palette, distinct for colour-blind readers too
COLOURS = {
    "right": "#009e73",
    "wrong_name": "#d55e00",
    "known_refused": "#56b4e9",
    "unknown_taken_for_known": "#cc79a7",
    "missed": "#f0e442",
    "duplicated": "#0072b2",
    "false_box": "#e69f00",
}
DARK = ("right", "wrong_name", "duplicated")  # under white text
FRAMES = 6  # as many as one screen holds


def choose(frames: FrameSet) -> list[int]:
    """Frames to show, one of a capture group: half of them the ones with most errors, the others
    right, crowded first."""
    matches = [frame.match for frame in frames.frames]
    errors = np.array([sum(m.errors().values()) for m in matches], dtype=np.int64)
    pills = np.array([len(m.labelled) for m in matches], dtype=np.int64)
    order = np.lexsort((-pills, -errors))
    wrong = first_of_each(order[errors[order] > 0], frames.groups)
    right = first_of_each(order[errors[order] == 0], frames.groups)
    chosen = wrong[: max(FRAMES // 2, FRAMES - len(right))]
    return [*right[: FRAMES - len(chosen)], *chosen]


def framed(pixels: Pixels, frame: FrameAnswer, classes: pd.DataFrame) -> Image.Image:
    """A frame with its boxes, coloured by the outcome of each pill, and their classes."""
    scale = FRAME_PX / pixels.shape[1]
    size = (FRAME_PX, round(pixels.shape[0] * scale))
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.BOX)
    pen = ImageDraw.Draw(picture)
    outcome = frame.match
    labels = zip(frame.labelled, outcome.labelled, strict=True)
    marks = [(box * scale, what, what) for box, what in labels if what == "missed"]
    for row, what in enumerate(outcome.predicted):
        text = _name(frame, row, classes)
        if what in ("duplicated", "false_box"):
            text = f"{what.replace('_', ' ')}: {text}"
        elif what in ("wrong_name", "known_refused"):
            true = int(frame.labelled_class[outcome.pairs[row]])
            text += f", true {classes['mapping_code'].iloc[true]}"
        marks.append((frame.predicted[row] * scale, what, text))
    for box, what, _ in marks:
        pen.rectangle(tuple(box.tolist()), outline=COLOURS[what], width=3)
    taken: list[Place] = []
    for box, what, text in marks:
        taken.append(_write(pen, box, text, what, size, taken))
    return picture


def frame_montage(pictures: Sequence[Image.Image]) -> Image.Image:
    """Frames in rows of three under a legend of the colours."""
    if not pictures:
        return notice("val holds no frames")
    sheet = grid(pictures, 3, 3 * LINE_PX, LEGEND_PX)
    pen = ImageDraw.Draw(sheet)
    left = GAP_PX
    for what in (matching.RIGHT, *matching.ERRORS):
        pen.rectangle((left, 18, left + 14, 32), fill=COLOURS[what], outline=PALE)
        text = what.replace("_", " ")
        pen.text((left + 20, 14), text, fill=INK, font=font(16))
        left += 44 + round(font(16).getlength(text))
    return sheet


def notice(text: str) -> Image.Image:
    """A sheet that says why there is nothing to show."""
    sheet = Image.new("RGB", (640, 3 * LINE_PX), PAPER)
    ImageDraw.Draw(sheet).text((GAP_PX, LINE_PX), text, fill=INK, font=font(16))
    return sheet


def grid(
    pictures: Sequence[Image.Image], columns: int, top_px: int, least_px: int = 0
) -> Image.Image:
    """Pictures in rows, under `top_px` of paper that is at least `least_px` wide."""
    columns = min(columns, len(pictures))
    width = max(picture.width for picture in pictures) + GAP_PX
    height = max(picture.height for picture in pictures) + GAP_PX
    rows = -(-len(pictures) // columns)
    size = (max(columns * width + GAP_PX, least_px), rows * height + top_px)
    sheet = Image.new("RGB", size, PAPER)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        sheet.paste(picture, (GAP_PX + column * width, top_px + row * height))
    return sheet


def first_of_each(order: Ints, names: NDArray[Any]) -> list[int]:
    """Of indices in order, the first of each name."""
    return [int(index) for index in order[~pd.Index(names[order]).duplicated()]]


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


def encoded(picture: Image.Image, form: str, **options: int) -> bytes:
    """A PNG or JPEG without dates: equal pictures give equal bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def _name(frame: FrameAnswer, row: int, classes: pd.DataFrame) -> str:
    if frame.predicted_class[row] < 0:
        return "unknown"
    name = classes.iloc[int(frame.predicted_class[row])]
    return f"{name['mapping_code']} {name['drug_name']} {percent(frame.confidence[row])}"


def _write(
    pen: Pen, box: Floats32, text: str, what: str, size: tuple[int, int], taken: Sequence[Place]
) -> Place:
    """A label over its box, or under or in it where another label is; returns its place."""
    text = fitting(text, font(13, bold=True), size[0] - 8)
    width = font(13, bold=True).getlength(text) + 6
    left = min(max(float(box[0]), 0.0), size[0] - width)
    tops = [min(max(float(top), 0.0), size[1] - 18) for top in (box[1] - 18, box[3], box[1])]
    places = [(left, top, left + width, top + 18) for top in tops]
    place = next((one for one in places if all(_apart(one, other) for other in taken)), places[0])
    pen.rectangle(place, fill=COLOURS[what])
    ink = PAPER if what in DARK else INK
    pen.text((place[0] + 3, place[1] + 1), text, fill=ink, font=font(13, bold=True))
    return place


def _apart(a: Place, b: Place) -> bool:
    return a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]
