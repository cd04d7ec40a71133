"""A crop made ready for an OCR model: relief as strong as print, evenly lit, on a grey ground.

docs/evaluation.md says how much of the reader's accuracy is due to it.
"""

import cv2
import numpy as np

from pillsnap.arrays import Array, Pixels

GREY = 128
SPREAD = 40  # grey levels of one standard deviation
LIGHT_SHARE = 1 / 12  # of the longer side: sigma of the blur that estimates the light
RIM_SHARE = 1 / 24  # of the longer side: left out at the pill's edge
LEAST_PILL = 0.2  # share of the crop: a smaller region is no pill that was cut out
MOST_ASIDE = 0.1  # of a side, from its middle: a region farther off is half a pill, or a shadow
PILL_SHARE = 0.9  # of the sides of a crop with its margin


def even(crop: Pixels) -> Array:
    """uint8 grey [h, w] of an RGB crop [h, w, 3]: each pixel against the light around it."""
    side = max(crop.shape[:2])
    rim = int(side * RIM_SHARE) | 1
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (rim, rim))
    inside = cv2.erode(pill_mask(crop), ellipse, borderValue=0).astype(np.float32)
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    sigma = side * LIGHT_SHARE
    around = np.maximum(cv2.GaussianBlur(inside, (0, 0), sigma), 1e-3)
    light = cv2.GaussianBlur(grey * inside, (0, 0), sigma) / around
    relief = (grey - light) * inside
    deviation = np.sqrt((relief**2).sum() / max(inside.sum(), 1)) + 2  # + 2: noise of blank pills
    return np.asarray(np.clip(GREY + relief / deviation * SPREAD, 0, 255), np.uint8)


def pill_mask(crop: Pixels) -> Array:
    """uint8 [h, w], 1 on the pill: the largest region unlike the corners, convex; an ellipse if
    that is small or not in the middle."""
    height, width = crop.shape[:2]
    part = max(2, min(height, width) // 16)
    corners = [
        crop[y, x]
        for y in (slice(part), slice(-part, None))
        for x in (slice(part), slice(-part, None))
    ]
    ground = np.median(np.concatenate([corner.reshape(-1, 3) for corner in corners]), axis=0)
    distance = np.abs(crop - ground).max(axis=2).astype(np.uint8)
    smooth = cv2.GaussianBlur(distance, (0, 0), 1.5)
    unlike = cv2.threshold(smooth, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[1]
    outlines = cv2.findContours(unlike, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    mask = np.zeros((height, width), np.uint8)
    if outlines:
        cv2.fillPoly(mask, [cv2.convexHull(max(outlines, key=cv2.contourArea))], 1)
    x, y, wide, high = cv2.boundingRect(mask)
    aside = max(abs(2 * x + wide - width) / width, abs(2 * y + high - height) / height) / 2
    if mask.mean() < LEAST_PILL or aside > MOST_ASIDE:
        half = round(width / 2 * PILL_SHARE), round(height / 2 * PILL_SHARE)
        mask = cv2.ellipse(np.zeros_like(mask), (width // 2, height // 2), half, 0, 0, 360, 1, -1)
    return mask
