"""Photos of pills on a turntable: poses, light, shadows, noise, tight boxes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import cos, hypot, radians, sin

import cv2
import numpy as np

from pillsnap.dataset.names import View
from pillsnap.demo.backdrops import LIGHTS, Light, add_noise, brightness, cut_backdrop
from pillsnap.demo.pills import TABLET, DrawnPill, Pills
from pillsnap.demo.sprites import draw_sprite
from pillsnap.params import DemoParams

WIDTH_MM = 39.0  # of the table across the frame: 25 px/mm at 976 px
GAP_MM = 1.0
SPRITE_SCALE = 1.25  # size of a sprite relative to the pill in the photo
WALL_SHARE = 0.42  # height of a tablet's side wall, relative to its thickness
SHADOW_MM = 1.6  # how far a shadow reaches beyond the pill
STEEPEST = 2.2  # slopes are clipped here
EXPOSURES = (0.7, 1.04)  # real photos are darker than the backgrounds are
Box = tuple[int, int, int, int]


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
    exposure, light = float(rng.uniform(*EXPOSURES)), LIGHTS[view.light]
    size = (demo.frame_width_px, demo.frame_height_px)
    photo = cut_backdrop(view.back, view.light, *size, exposure, rng)
    far = [replace(one, scale=one.scale / light.distance) for one in placements]
    boxes = [_add_pill(photo, placement, view, exposure) for placement in far]
    if light.blur_px:
        photo = cv2.GaussianBlur(photo, (0, 0), light.blur_px)
    return add_noise(photo, demo.noise * light.noise, rng), boxes


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


@dataclass(frozen=True)
class Pose:
    """A pill relative to the camera: position in px, turn and elevation in radians, light."""

    side: int
    x_px: float
    y_px: float
    turn: float
    elevation: float
    px_per_mm: float
    sprite_px_per_mm: float
    light: int
    exposure: float


def add_pill(photo: np.ndarray, pill: DrawnPill, pose: Pose) -> Box:
    """Draw a pill and its shadow into `photo` [h, w, 3] uint8; return its tight box in px."""
    sprite_px_per_mm = round(SPRITE_SCALE * pose.sprite_px_per_mm, 3)
    sprite, sprite_relief_mm = draw_sprite(pill, pose.side, sprite_px_per_mm)
    wall_mm = WALL_SHARE * pill.thick_mm if pill.look.kind == TABLET else 0.0
    wall_px = round(wall_mm * pose.px_per_mm * cos(pose.elevation))
    reach = int((0.52 * pill.long_mm + SHADOW_MM) * pose.px_per_mm) + wall_px + 2
    left, top = max(0, int(pose.x_px) - reach), max(0, int(pose.y_px) - reach)
    patch = photo[top : int(pose.y_px) + reach, left : int(pose.x_px) + reach]
    matrix = _matrix(sprite.shape, sprite_px_per_mm, pill, pose)
    matrix[:, 2] -= (left, top)
    size = (patch.shape[1], patch.shape[0])
    paint = cv2.warpAffine(sprite, matrix, size, flags=cv2.INTER_LINEAR)
    relief_mm = cv2.warpAffine(sprite_relief_mm, matrix, size, flags=cv2.INTER_LINEAR)
    solid = cv2.dilate(paint[..., 3], np.ones((wall_px + 1, 1), np.uint8), anchor=(0, wall_px))
    light = LIGHTS[pose.light]
    face = _light_face(paint, relief_mm, pill, pose, light)
    color = _add_wall(face, paint[..., 3], wall_px, pill)
    color *= np.array(light.gain, dtype=np.float32) * np.float32(pose.exposure)
    cover = (solid.astype(np.float32) / 255)[..., None]
    table = patch * (1 - _shadow(solid, pill, pose, light))[..., None]
    lens = cv2.GaussianBlur(table * (1 - cover) + color * cover, (0, 0), 0.6)
    patch[:] = np.rint(lens).clip(0, 255)
    x, y, width, height = cv2.boundingRect((solid > 127).astype(np.uint8))
    return left + x, top + y, width, height


def _matrix(
    sprite_shape: tuple[int, ...], sprite_px_per_mm: float, pill: DrawnPill, pose: Pose
) -> np.ndarray:
    """Sprite px to frame px, [2, 3]; capsules keep their width at any elevation."""
    axis = np.array([cos(pose.turn), sin(pose.turn) * sin(pose.elevation)])
    if pill.look.kind == TABLET:
        across = np.array([-sin(pose.turn), cos(pose.turn) * sin(pose.elevation)])
    else:
        across = np.array([-axis[1], axis[0]]) / hypot(*axis)
    linear = np.stack([axis, across], axis=1) * (pose.px_per_mm / sprite_px_per_mm)
    height, width = sprite_shape[:2]
    shift = np.array([pose.x_px, pose.y_px]) - linear @ [(width - 1) / 2, (height - 1) / 2]
    return np.column_stack([linear, shift])


def _light_face(
    paint: np.ndarray, relief_mm: np.ndarray, pill: DrawnPill, pose: Pose, light: Light
) -> np.ndarray:
    """The upper face under the lamp, [h, w, 3] float32, before the lamp's colour."""
    per_px = pose.px_per_mm / 8  # Sobel's 3 x 3 kernel sums to 8
    right = cv2.Sobel(relief_mm, cv2.CV_32F, 1, 0, scale=per_px).clip(-STEEPEST, STEEPEST)
    down = cv2.Sobel(relief_mm, cv2.CV_32F, 0, 1, scale=per_px).clip(-STEEPEST, STEEPEST)
    upright = 1 / np.sqrt(right * right + down * down + 1)
    to_lamp = np.array(light.direction, dtype=np.float32)
    to_lamp /= np.linalg.norm(to_lamp)
    facing = (to_lamp[2] - right * to_lamp[0] - down * to_lamp[1]) * upright
    shade = light.ambient + (1 - light.ambient) / to_lamp[2] * np.maximum(facing, 0)
    half = to_lamp + np.array([0, 0, 1], dtype=np.float32)
    half /= np.linalg.norm(half)
    mirror = (half[2] - right * half[0] - down * half[1]) * upright
    glint = 120 * pill.gloss * np.maximum(mirror, 0) ** (14 + 50 * pill.gloss)
    return np.asarray(paint[..., :3] * shade[..., None] + glint[..., None], dtype=np.float32)


def _add_wall(face: np.ndarray, coverage: np.ndarray, wall_px: int, pill: DrawnPill) -> np.ndarray:
    """The face with the tablet's side wall below it, darker towards the table."""
    if wall_px == 0:
        return face
    fraction = cv2.blur(coverage, (1, wall_px), anchor=(0, wall_px - 1)).astype(np.float32) / 255
    wall = (0.56 + 0.26 * fraction)[..., None] * np.array(pill.rgb[0], dtype=np.float32)
    front = (coverage.astype(np.float32) / 255)[..., None]
    return np.asarray(face * front + wall * (1 - front), dtype=np.float32)


def _shadow(solid: np.ndarray, pill: DrawnPill, pose: Pose, light: Light) -> np.ndarray:
    """The share of light that the pill blocks, [h, w] float32; computed at quarter size."""
    height, width = solid.shape
    small = cv2.resize(solid, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    throw = -0.3 * pill.thick_mm * pose.px_per_mm / 4
    shift = np.array([[1, 0, throw * light.direction[0]], [0, 1, throw * light.direction[1]]])
    cast = cv2.warpAffine(small, shift, (small.shape[1], small.shape[0]))
    soft = cv2.GaussianBlur(cast, (0, 0), 0.4 * pose.px_per_mm / 4)
    return np.asarray(cv2.resize(soft, (width, height)) * np.float32(light.shadow / 255))
