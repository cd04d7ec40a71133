"""Photos with boxes and drug names in Korean: the output of `pillsnap predict --annotate`."""

import io
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pillsnap.arrays import Pixels
from pillsnap.fonts import korean_font_path
from pillsnap.recognition import certainty
from pillsnap.recognition.certainty import percent
from pillsnap.recognition.recogniser import Pill

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {  # as on the upload page; safe for the colour-blind
    "confident": (0, 114, 178),
    "doubtful": (122, 90, 0),
    "unknown": (190, 70, 0),
}
INK: Colour = (255, 255, 255)
FONT_SHARE = 1 / 45  # of the photo's longer side
LEAST_FONT_PX = 12
JPEG_QUALITY = 90


def draw(frame: Pixels, pills: Sequence[Pill]) -> Pixels:
    """A copy of an RGB frame [h, w, 3] with boxes and captions: confident pills with a solid frame,
    doubtful ones with a dashed one, unknown ones in orange."""
    picture = Image.fromarray(frame)
    pen = ImageDraw.Draw(picture)
    font_px = max(LEAST_FONT_PX, round(max(picture.size) * FONT_SHARE))
    for pill in reversed(pills):  # the best one is drawn last, over the others
        x, y, width, height = pill.box
        look = certainty.of(pill)
        colour, line_px = COLOURS[look], max(2, font_px // 8)
        pen.rectangle((x, y, x + width - 1, y + height - 1), outline=colour, width=line_px)
        if look == "doubtful":
            _dash(pen, pill.box, line_px)
        _write(pen, picture.size, (x, y), caption(pill), colour, font_px)
    return np.asarray(picture)


def caption(pill: Pill) -> str:
    """Drug, code and confidence, of a doubtful pill the second drug too; of an unknown pill the
    nearest drug with a question mark."""
    nearest, second = pill.candidates[0], certainty.second(pill)
    if not pill.known:
        return f"unknown  ({nearest.drug_name}?)"
    text = f"{nearest.drug_name}  {nearest.code}  {percent(pill.confidence)}"
    return f"{text}  or {second.drug_name} {percent(second.probability)}" if second else text


def jpeg(frame: Pixels) -> bytes:
    """JPEG bytes of an annotated frame."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _dash(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], line_px: int) -> None:
    """Gaps of a dash's length in the frame of a box."""
    x, y, width, height = box
    for left in range(x + 3 * line_px, x + width - 3 * line_px, 6 * line_px):
        for top in (y, y + height - line_px):
            pen.rectangle((left, top, left + 3 * line_px - 1, top + line_px - 1), fill=INK)
    for top in range(y + 3 * line_px, y + height - 3 * line_px, 6 * line_px):
        for left in (x, x + width - line_px):
            pen.rectangle((left, top, left + line_px - 1, top + 3 * line_px - 1), fill=INK)


def _write(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    corner: tuple[int, int],
    text: str,
    colour: Colour,
    font_px: int,
) -> None:
    """A line of text on a plate above the corner, moved so that it stays in the picture."""
    font = _font(font_px)
    border_px = font_px // 4
    width = round(pen.textlength(text, font=font)) + 2 * border_px
    height = font_px + 2 * border_px
    x = max(0, min(corner[0], size[0] - width))
    y = max(0, corner[1] - height)
    pen.rectangle((x, y, x + width - 1, y + height - 1), fill=colour)
    pen.text((x + border_px, y + height // 2), text, fill=INK, font=font, anchor="lm")


@cache
def _font(font_px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(korean_font_path(bold=True)), font_px)
