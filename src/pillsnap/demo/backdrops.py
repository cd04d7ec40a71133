"""The empty turntable: three backgrounds under three lights, with texture, dust, the table's edge,
vignette and noise; and a desk as a phone sees it, which only test has."""

import functools
from dataclasses import dataclass

import cv2
import numpy as np

SHIFT_PX = 48  # largest random shift of the frame over a background that is drawn once
PHONE = 3  # as light and as background of a photo
BACKS = {  # RGB; 2 is light grey
    0: (92, 104, 122), 1: (178, 188, 160), 2: (208, 208, 206), PHONE: (134, 108, 84),
}  # fmt: skip
EDGE = 0.69  # radius of the turntable, share of the frame's width
SPECKS = 90  # of dust on a background


@dataclass(frozen=True)
class Light:
    """A lamp: RGB gain, direction to it (x right, y down, z to the camera), strength of shadows."""

    gain: tuple[float, float, float]
    direction: tuple[float, float, float]
    ambient: float
    shadow: float
    gradient: tuple[float, float]
    vignette: float
    blur_px: float = 0.0  # of the lens
    noise: float = 1.0  # relative to demo.noise
    distance: float = 1.0  # of the camera; 1.25 shows a pill at 0.8 of its size


LIGHTS = {
    0: Light((0.66, 0.53, 0.37), (-0.55, -0.45, 0.70), 0.50, 0.50, (-0.10, -0.08), 0.34),
    1: Light((0.88, 0.94, 1.00), (0.45, -0.40, 0.80), 0.58, 0.38, (0.07, -0.05), 0.22),
    2: Light((1.00, 0.985, 0.95), (-0.25, -0.40, 0.88), 0.62, 0.32, (-0.04, -0.05), 0.18),
    PHONE: Light(
        (0.70, 0.78, 0.92), (0.62, 0.30, 0.60), 0.46, 0.62, (0.22, 0.16), 0.45,
        blur_px=1.1, noise=5.0, distance=1.25,
    ),
}  # fmt: skip


@functools.lru_cache(maxsize=10)
def draw_backdrop(back: int, light: int, width_px: int, height_px: int) -> np.ndarray:
    """Background [h + 48, w + 48, 3] uint8: the frame's size and a margin to shift it."""
    width, height = width_px + SHIFT_PX, height_px + SHIFT_PX
    rng = np.random.default_rng([back, light, width_px])
    fine = rng.normal(0, 1, (height, width)).astype(np.float32)
    coarse = rng.normal(0, 1, (height // 32 + 2, width // 32 + 2)).astype(np.float32)
    texture = 1.5 * cv2.GaussianBlur(fine, (0, 0), 1.2)
    texture += 0.8 * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    base = np.array(BACKS[back], dtype=np.float32) + texture[..., None]
    specks = np.zeros((height, width), np.float32)
    for x, y, radius in zip(
        *rng.uniform((0, 0, 1), (width, height, 3.2), (SPECKS, 3)).T, strict=True
    ):
        cv2.circle(specks, (int(x), int(y)), round(radius), float(rng.uniform(-24, 30)), -1)
    base += cv2.GaussianBlur(specks, (0, 0), 0.8)[..., None]
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :]
    if back != PHONE:  # beyond the turntable it is darker
        radius = np.sqrt((x * width) ** 2 + (y * height) ** 2) / width_px
        base *= (1 - 0.25 * np.clip((radius - EDGE) * 60, 0, 1))[..., None]
    lit = base * brightness(light, x, y)[..., None] * np.array(LIGHTS[light].gain, np.float32)
    return np.asarray(np.rint(lit).clip(0, 255), dtype=np.uint8)


def brightness(light: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Relative brightness; x and y run from -0.5 to 0.5 over the frame."""
    lamp = LIGHTS[light]
    slope = lamp.gradient[0] * x + lamp.gradient[1] * y
    return np.asarray(1 + slope - lamp.vignette * (x * x + y * y), dtype=np.float32)


def cut_backdrop(
    back: int, light: int, width_px: int, height_px: int, exposure: float, rng: np.random.Generator
) -> np.ndarray:
    """A frame [h, w, 3] uint8 of the empty background, shifted at random."""
    left, top = (int(v) for v in rng.integers(SHIFT_PX, size=2))
    whole = draw_backdrop(back, light, width_px, height_px)
    cut = whole[top : top + height_px, left : left + width_px]
    return np.asarray(cv2.convertScaleAbs(cut, alpha=exposure))


def add_noise(photo: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """`photo` plus sensor noise (`noise` grey levels), from one tile at a random offset."""
    height, width = photo.shape[:2]
    left, top = (int(v) for v in rng.integers(SHIFT_PX, size=2))
    tile = _noise_tile(width, height, noise)[top : top + height, left : left + width]
    return np.asarray(cv2.add(photo, tile, dtype=cv2.CV_8U))


@functools.lru_cache(maxsize=2)
def _noise_tile(width_px: int, height_px: int, noise: float) -> np.ndarray:
    rng = np.random.default_rng([width_px, height_px])
    shape = (height_px + SHIFT_PX, width_px + SHIFT_PX, 3)
    grain = noise * rng.standard_normal(shape, dtype=np.float32)
    return np.asarray(np.rint(grain), dtype=np.int8)
