"""Sprites: one side of a pill from above, with colours, outline and relief; cached by size."""

import functools
from math import tau

import cv2
import numpy as np

from pillsnap.demo.imprints import draw_imprint, draw_score_line
from pillsnap.demo.pills import HARD_CAPSULE, SOFT_CAPSULE, DrawnPill

MARGIN_MM = 0.5
CORNERS = {"육각형": 6, "팔각형": 8, "삼각형": 3, "기타": 4}
SEAM = 0.54 - 0.5  # where a capsule's cap ends: share of its length from the middle
CAP_STEP_MM = 0.09
BEVEL_MM = 0.55
DARK = 135  # mean grey level below which ink is light
DARK_INK = np.array((38, 38, 46), dtype=np.float32)
LIGHT_INK = np.array((236, 234, 228), dtype=np.float32)


@functools.lru_cache(maxsize=48)
def draw_sprite(pill: DrawnPill, side: int, px_per_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """The front (0) or back (1) of a pill, its long axis along x.

    Returns RGB + coverage [h, w, 4] uint8 and the relief in mm above the rim [h, w] float32.
    """
    x_mm, y_mm = _grid(pill, px_per_mm)
    depth_mm = -_distance_outside(pill, x_mm, y_mm)
    coverage = np.clip(depth_mm * px_per_mm + 0.5, 0, 1)
    relief = _body(pill, depth_mm, px_per_mm)
    color = _base_color(pill, x_mm, len(y_mm), px_per_mm)
    if pill.look.kind == HARD_CAPSULE:
        relief = relief + CAP_STEP_MM * (x_mm < SEAM * pill.long_mm)
    color, relief = _stamp(pill, side, color, relief, px_per_mm)
    paint = np.dstack([color, coverage * 255])
    return np.rint(paint).clip(0, 255).astype(np.uint8), relief.astype(np.float32)


def _grid(pill: DrawnPill, px_per_mm: float) -> tuple[np.ndarray, np.ndarray]:
    half_w = int(np.ceil((pill.long_mm / 2 + MARGIN_MM) * px_per_mm))
    half_h = int(np.ceil((pill.short_mm / 2 + MARGIN_MM) * px_per_mm))
    if pill.look.shape in CORNERS:
        half_h = half_w
    x = (np.arange(2 * half_w + 1, dtype=np.float32) - half_w) / px_per_mm
    y = (np.arange(2 * half_h + 1, dtype=np.float32) - half_h) / px_per_mm
    return x[None, :], y[:, None]


def _distance_outside(pill: DrawnPill, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance to the outline in mm, [h, w] float32, negative inside."""
    long, short = pill.long_mm / 2, pill.short_mm / 2
    shape = pill.look.shape
    if shape == "타원형":
        ratio = np.sqrt((x / long) ** 2 + (y / short) ** 2) + 1e-6
        slope = np.sqrt((x / long**2) ** 2 + (y / short**2) ** 2) + 1e-6
        return np.asarray((ratio - 1) * np.minimum(ratio / slope, short), dtype=np.float32)
    if shape in CORNERS:
        return _polygon(CORNERS[shape], long, x, y)
    beyond = np.maximum(np.abs(x) - (long - short), 0)
    return np.asarray(np.sqrt(beyond**2 + y**2) - short, dtype=np.float32)


def _polygon(corners: int, radius: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A regular polygon with rounded corners; its largest radius is about `radius` mm."""
    inner = radius * {3: 0.58, 4: 0.76, 6: 0.89, 8: 0.94}[corners]
    sharpness = {3: 1.6, 4: 2.2, 6: 6.0, 8: 8.0}[corners] * 5 / radius
    angles = [tau * k / corners + tau / 4 for k in range(corners)]
    reach = np.stack([np.cos(a) * x + np.sin(a) * y - inner for a in angles]) * sharpness
    return np.asarray(np.logaddexp.reduce(reach, axis=0) / sharpness, dtype=np.float32)


def _body(pill: DrawnPill, depth_mm: np.ndarray, px_per_mm: float) -> np.ndarray:
    """Height of the body above its rim in mm: capsules round, tablets bevelled and domed."""
    inside = np.maximum(depth_mm, 0)
    deepest = float(inside.max())
    if pill.look.kind in (HARD_CAPSULE, SOFT_CAPSULE):
        across = 1 - inside / deepest
        return np.asarray(pill.thick_mm / 2 * np.sqrt(1 - across**2), dtype=np.float32)
    edge = 1 - np.minimum(inside / BEVEL_MM, 1)
    across = 1 - inside / deepest
    relief = 0.35 * np.sqrt(1 - edge**2) + 0.16 * pill.thick_mm * (1 - across**2)
    smooth = cv2.GaussianBlur(relief.astype(np.float32), (0, 0), 0.16 * px_per_mm)
    return np.asarray(smooth, dtype=np.float32)


def _base_color(pill: DrawnPill, x_mm: np.ndarray, height: int, px_per_mm: float) -> np.ndarray:
    """RGB [h, w, 3] float32: one colour, or the two of a capsule, with surface grain."""
    color = np.empty((height, x_mm.shape[1], 3), dtype=np.float32)
    color[:] = pill.rgb[0]
    if len(pill.rgb) == 2:
        blend = np.clip((x_mm[0] - SEAM * pill.long_mm) * px_per_mm + 0.5, 0, 1)[None, :, None]
        color = color * (1 - blend) + np.array(pill.rgb[1], dtype=np.float32) * blend
    grain = np.random.default_rng(int(pill.code[2:])).normal(0, 1, (height, x_mm.shape[1], 1))
    rough = 0.03 * (1 - min(1.0, pill.gloss * 1.5))
    return np.asarray(color * (1 + rough * grain), dtype=np.float32)


def _stamp(
    pill: DrawnPill, side: int, color: np.ndarray, relief: np.ndarray, px_per_mm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Emboss or print the imprint into colours and relief."""
    imprint = pill.imprints[side]
    shape = (relief.shape[0], relief.shape[1])
    mask = draw_imprint(pill, imprint, shape, px_per_mm)
    if imprint.line:
        groove = draw_score_line(pill, shape, px_per_mm)
        relief = relief - 2.2 * pill.depth_mm * groove
        color = color * (1 - 0.12 * groove[..., None])
    if imprint.printed:
        ink = np.where(color.mean(axis=2, keepdims=True) < DARK, LIGHT_INK, DARK_INK)
        cover = 0.88 * mask[..., None]
        return color * (1 - cover) + ink * cover, relief
    pressed = cv2.GaussianBlur(mask, (0, 0), 0.07 * px_per_mm)
    return color * (1 - 0.1 * pressed[..., None]), relief - pill.depth_mm * pressed
