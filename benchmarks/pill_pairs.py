"""Where the two sides of a pill are in a photo with a ruler: a part of register_photos.py."""

from itertools import combinations
from typing import Any

import cv2
import numpy as np

from pillsnap.arrays import Array, Pixels

STROKE, *OPENINGS = (  # px: of ruler and text; what parts pills that touch each other
    cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (px, px)) for px in (13, 9, 15, 21, 31, 45)
)
STROKE_DARKER, MOST_STROKES = 50, 0.2  # grey levels; share of a pill's box
THRESHOLDS = (5, 7, 10, 15, 22, 32, 45, 64, 90)  # grey levels from the ground
LEAST_PX, MOST_SHARE = 18, 0.3  # of a pill's shorter side; of the photo's area
LEAST_SOLID, LEAST_ALIKE = 0.94, 0.64  # area against the hull's; of the two pills

Box = tuple[int, int, int, int]
Region = tuple[Box, float, float]  # area, contrast


def pills(photo: Pixels) -> list[Box]:
    """Boxes of front and back, left or top first: the two convex regions that are most alike and
    differ most from the ground, [] if there are none."""
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32)
    slope = cv2.magnitude(cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1))
    slope = cv2.GaussianBlur(slope, (0, 0), 1)
    strokes = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, STROKE) > STROKE_DARKER
    smooth = cv2.medianBlur(photo, 5).astype(np.float32)
    small = cv2.resize(photo, None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA)
    around = cv2.resize(cv2.medianBlur(small, 31), photo.shape[1::-1]).astype(np.float32)
    found: list[tuple[float, list[Box]]] = [(0.0, [])]
    for ground in (np.median(photo.reshape(-1, 3), axis=0), around):
        unlike = np.abs(smooth - ground).max(axis=2)
        for threshold in THRESHOLDS:
            outlines = outlines_of((unlike > threshold) & ~strokes)
            most = MOST_SHARE * unlike.size
            pieces = [each for each in outlines if cv2.contourArea(each) < most]
            filled = cv2.drawContours(np.zeros(grey.shape, np.uint8), pieces, -1, 1, cv2.FILLED)
            for opening in OPENINGS:
                opened = cv2.morphologyEx(filled, cv2.MORPH_OPEN, opening)
                regions = [region(each, unlike, slope, strokes) for each in outlines_of(opened)]
                found += [pair(*each) for each in combinations(filter(None, regions), 2)]
    return sorted(max(found, key=lambda each: each[0])[1], key=lambda box: box[0] + box[1])


def outlines_of(mask: Array) -> Any:
    """The outer outlines."""
    return cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]


def region(outline: Array, unlike: Array, slope: Array, strokes: Array) -> Region | None:
    """A region if it is convex, inside the photo and no ruler."""
    x, y, width, height = box = cv2.boundingRect(outline)
    inside = slice(y, y + height), slice(x, x + width)
    area, (high, wide) = cv2.contourArea(outline), unlike.shape
    whole = x > 0 < y and x + width < wide and y + height < high
    convex = area >= LEAST_SOLID * cv2.contourArea(cv2.convexHull(outline))
    dark = strokes[inside].mean() / MOST_STROKES
    if not (whole and convex and dark < 1 and min(width, height) >= LEAST_PX):
        return None
    edge = slope[outline[:, 0, 1], outline[:, 0, 0]].mean()
    return box, area, float(np.sqrt(edge * unlike[inside].mean()) * (1 - dark))


def pair(one: Region, two: Region) -> tuple[float, list[Box]]:
    """How much two regions look like the sides of one pill beside each other, and their boxes."""
    (a, area_a, contrast_a), (b, area_b, contrast_b) = one, two
    areas = sorted((area_a, area_b))
    sides = zip(sorted(a[2:]), sorted(b[2:]), strict=True)
    alike = areas[0] / areas[1] * min(min(each) / max(each) for each in sides)
    across, down = abs(a[0] - b[0]), abs(a[1] - b[1])
    beside = np.hypot(across, down) < 2 * max(a[2:]) and min(across, down) < min(a[2:]) / 2
    score = alike**2 * min(contrast_a, contrast_b) * areas[0] ** 0.75
    return score if beside and alike > LEAST_ALIKE else 0.0, [a, b]
