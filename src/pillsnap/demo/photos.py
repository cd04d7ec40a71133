"""Photos of pills on a turntable: poses, background, pills, noise, tight boxes."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, radians, sin

import numpy as np

from pillsnap.dataset.names import View
from pillsnap.demo.backdrops import add_noise, brightness, cut_backdrop
from pillsnap.demo.optics import Box, Pose, add_pill
from pillsnap.demo.pills import DrawnPill, Pills
from pillsnap.params import DemoParams

WIDTH_MM = 39.0  # of the table across the frame: 25 px/mm at 976 px
GAP_MM = 1.0


@dataclass(frozen=True)
class Placement:
    """A pill on the table: mm from the middle, turn in degrees, scale below 1 for a far camera."""

    pill: DrawnPill
    x_mm: float
    y_mm: float
    turn_deg: float
    scale: float


def lay_out(pills: Pills, demo: DemoParams, rng: np.random.Generator) -> list[Placement]:
    """Place one pill near the middle, or several without overlap and at any angle."""
    height_mm = WIDTH_MM * demo.frame_height_px / demo.frame_width_px
    if len(pills) == 1:
        x, y = rng.normal(0, 0.045, 2).clip(-0.1, 0.1) * (WIDTH_MM, height_mm)
        return [Placement(pills[0], float(x), float(y), float(rng.uniform(-8, 8)), 1.0)]
    scale = 1.0
    while True:
        spots = _spots([scale * p.long_mm / 2 for p in pills], height_mm, rng)
        if spots is not None:
            turns = rng.uniform(0, 360, len(pills)).tolist()
            rows = zip(pills, spots, turns, strict=True)
            return [Placement(p, x / scale, y / scale, turn, scale) for p, (x, y), turn in rows]
        scale *= 0.96


def _spots(
    radii_mm: Sequence[float], height_mm: float, rng: np.random.Generator
) -> list[tuple[float, float]] | None:
    """Centres of circles with a gap between them, or None after 200 tries."""
    for _ in range(200):
        spots: list[tuple[float, float]] = []
        for radius in radii_mm:
            room = np.array([WIDTH_MM, height_mm]) / 2 - radius - GAP_MM
            x, y = (float(v) for v in rng.uniform(-room, room))
            y *= 0.92
            near = zip(spots, radii_mm, strict=False)
            if any(hypot(x - a, (y - b) * 0.94) < radius + r + GAP_MM for (a, b), r in near):
                break
            spots.append((x, y))
        if len(spots) == len(radii_mm):
            return spots
    return None


def draw_frame(
    placements: Sequence[Placement], view: View, demo: DemoParams, rng: np.random.Generator
) -> tuple[np.ndarray, list[Box]]:
    """A photo [h, w, 3] uint8 RGB, and the tight box (x, y, w, h) in px of each pill."""
    exposure = float(rng.uniform(0.95, 1.04))
    size = (demo.frame_width_px, demo.frame_height_px)
    photo = cut_backdrop(view.back, view.light, *size, exposure, rng)
    boxes = [_add_pill(photo, placement, view, exposure) for placement in placements]
    return add_noise(photo, demo.noise, rng), boxes


def _add_pill(photo: np.ndarray, placement: Placement, view: View, exposure: float) -> Box:
    height, width = photo.shape[:2]
    px_per_mm = width / WIDTH_MM * placement.scale
    x = width / 2 + placement.x_mm * px_per_mm
    y = height / 2 + placement.y_mm * px_per_mm * sin(radians(view.latitude))
    bright = brightness(view.light, np.array([x / width - 0.5]), np.array([y / height - 0.5]))
    turn, elevation = radians(placement.turn_deg + view.longitude), radians(view.latitude)
    scales, lit = (px_per_mm, width / WIDTH_MM), exposure * float(bright[0])
    pose = Pose(view.direction, x, y, turn, elevation, *scales, view.light, lit)
    return add_pill(photo, placement.pill, pose)
