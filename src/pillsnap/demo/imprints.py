"""Imprints as masks: letters, a maker's logo and a score line, placed on the face of a pill."""

import functools

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pillsnap.demo.pills import TABLET, DrawnPill, Imprint
from pillsnap.fonts import korean_font_path

LINE_MM = 0.42
ELONGATED = 1.35  # beyond this ratio of length to width, text runs along the pill
Box = tuple[float, float, float, float]  # centre x, centre y, width, height in px


def draw_imprint(
    pill: DrawnPill, imprint: Imprint, shape: tuple[int, int], px_per_mm: float
) -> np.ndarray:
    """The imprint as coverage [h, w] float32 in 0..1, without its score line."""
    canvas = Image.new("L", (shape[1], shape[0]), 0)
    left, right = _cells(pill, imprint, shape, px_per_mm)
    if imprint.mark is not None:
        _draw_mark(canvas, imprint.mark, left)
    elif imprint.left:
        _draw_text(canvas, imprint.left, left)
    if imprint.right:
        _draw_text(canvas, imprint.right, right)
    return np.asarray(canvas, dtype=np.float32) / 255


def draw_score_line(pill: DrawnPill, shape: tuple[int, int], px_per_mm: float) -> np.ndarray:
    """The score line across the short side as coverage [h, w] float32 in 0..1."""
    x_mm = np.abs(np.arange(shape[1]) - (shape[1] - 1) / 2) / px_per_mm
    profile = np.clip(1 - x_mm / LINE_MM, 0, 1).astype(np.float32)
    return np.broadcast_to(profile, shape)


def _cells(
    pill: DrawnPill, imprint: Imprint, shape: tuple[int, int], px_per_mm: float
) -> tuple[Box, Box]:
    """Boxes of the left (or upper) and the right (or lower) part; equal if there is one part."""
    cx, cy = shape[1] / 2, shape[0] / 2
    long_px, short_px = pill.long_mm * px_per_mm, pill.short_mm * px_per_mm
    parts = bool(imprint.left or imprint.mark is not None) + bool(imprint.right)
    if pill.long_mm / pill.short_mm > ELONGATED:
        if parts == 1 and not imprint.line and pill.look.kind == TABLET:
            whole = (cx, cy, 0.62 * long_px, 0.52 * short_px)
            return whole, whole
        width, height = (0.32 * long_px, (0.46 if pill.look.kind == TABLET else 0.36) * short_px)
        step = 0.21 * long_px
        return (cx - step, cy, width, height), (cx + step, cy, width, height)
    shrink = 0.8 if pill.look.shape == "삼각형" else 1.0
    if imprint.line:
        size, step = 0.31 * long_px * shrink, 0.22 * long_px * shrink
        return (cx - step, cy, size, 1.2 * size), (cx + step, cy, size, 1.2 * size)
    if parts == 2:
        width, height, step = (share * long_px * shrink for share in (0.52, 0.25, 0.17))
        return (cx, cy - step, width, height), (cx, cy + step, width, height)
    whole = (cx, cy, 0.62 * long_px * shrink, 0.4 * long_px * shrink)
    return whole, whole


def _draw_text(canvas: Image.Image, text: str, box: Box) -> None:
    cx, cy, width, height = box
    x0, y0, x1, y1 = _font(100).getbbox(text)
    size = int(100 * min(width / (x1 - x0), height / (y1 - y0)))
    ImageDraw.Draw(canvas).text((cx, cy), text, fill=255, font=_font(max(size, 6)), anchor="mm")


def _draw_mark(canvas: Image.Image, mark: int, box: Box) -> None:
    cx, cy, width, height = box
    r = min(width, height) / 2
    stroke = max(1, round(0.24 * r))
    draw = ImageDraw.Draw(canvas)
    if mark == 0:  # ring with a dot
        draw.ellipse((cx - r, cy - r, cx + r, cy + r), outline=255, width=stroke)
        draw.ellipse((cx - 0.35 * r, cy - 0.35 * r, cx + 0.35 * r, cy + 0.35 * r), fill=255)
    elif mark == 1:  # two chevrons
        for top in (cy - 0.9 * r, cy - 0.1 * r):
            points = [(cx - r, top + 0.9 * r), (cx, top), (cx + r, top + 0.9 * r)]
            draw.line(points, fill=255, width=stroke, joint="curve")
    elif mark == 2:  # rhomb with a bar
        points = [(cx, cy - r), (cx + r, cy), (cx, cy + r), (cx - r, cy), (cx, cy - r)]
        draw.line(points, fill=255, width=stroke, joint="curve")
        draw.line([(cx - 0.5 * r, cy), (cx + 0.5 * r, cy)], fill=255, width=stroke)
    elif mark == 3:  # crescent
        draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=255)
        draw.ellipse((cx - 0.3 * r, cy - 0.85 * r, cx + 1.2 * r, cy + 0.65 * r), fill=0)
    elif mark == 4:  # three bars
        for share, x in ((0.5, -0.7), (0.8, 0.0), (1.0, 0.7)):
            left, top = cx + x * r - stroke / 2, cy + r - 2 * share * r
            draw.rectangle((left, top, left + 1.2 * stroke, cy + r), fill=255)
    else:  # cross
        arm = 0.36 * r
        draw.rectangle((cx - r, cy - arm, cx + r, cy + arm), fill=255)
        draw.rectangle((cx - arm, cy - r, cx + arm, cy + r), fill=255)


@functools.lru_cache(maxsize=256)
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(korean_font_path(bold=True)), size_px)
