"""Augmentation of crops: one warp for the geometry, one affine map for light and colour.

Never mirrored: an imprint read backwards is a different imprint. Any rotation: pills lie at any
angle. Hue hardly changes: colour distinguishes pills.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from pillsnap.arrays import Pixels
from pillsnap.params import TrainClassificationParams

NOISE_LEVELS = 5
MID_GREY = 127.5


@dataclass(frozen=True)
class Augmenter:
    """Turns a crop [c, c, 3] into a training picture [image_px, image_px, 3]."""

    image_px: int
    recipe: TrainClassificationParams

    def __call__(self, crop: Pixels, rng: np.random.Generator) -> Pixels:
        """One random view; the same generator state gives the same picture."""
        picture = self._warp(crop, rng)
        if rng.random() < self.recipe.blur:
            picture = cv2.GaussianBlur(picture, (3, 3), 0)
        picture = self._light(picture, rng)
        return self._sensor(picture, rng)

    def _warp(self, crop: Pixels, rng: np.random.Generator) -> Pixels:
        angle = rng.uniform(-self.recipe.rotate_degrees, self.recipe.rotate_degrees)
        zoom = (1 + rng.uniform(-self.recipe.scale, self.recipe.scale)) * self.image_px / len(crop)
        shift = rng.uniform(-self.recipe.translate, self.recipe.translate, 2) * self.image_px
        centre = (len(crop) - 1) / 2
        matrix = cv2.getRotationMatrix2D((centre, centre), angle, zoom)
        matrix[:, 2] += (self.image_px - 1) / 2 - centre + shift
        warped = cv2.warpAffine(
            cv2.cvtColor(crop, cv2.COLOR_RGB2RGBA),  # OpenCV warps 4 channels faster than 3
            matrix,
            (self.image_px, self.image_px),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        picture: Pixels = cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB)
        return picture

    def _light(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        brightness = 1 + rng.uniform(-self.recipe.brightness, self.recipe.brightness)
        contrast = 1 + rng.uniform(-self.recipe.contrast, self.recipe.contrast)
        warmth = rng.uniform(-self.recipe.temperature_shift, self.recipe.temperature_shift)
        colours = np.zeros((3, 4))  # an affine map of RGB; clipped and rounded once
        np.fill_diagonal(colours, np.array([1 + warmth, 1.0, 1 - warmth]) * brightness * contrast)
        colours[:, 3] = MID_GREY * (1 - contrast)
        lit: Pixels = cv2.transform(picture, colours)
        return lit

    def _sensor(self, picture: Pixels, rng: np.random.Generator) -> Pixels:
        brighter, darker = self._noise[rng.integers(len(self._noise))]
        y, x = rng.integers(0, len(brighter) - self.image_px + 1, 2)
        part = np.s_[y : y + self.image_px, x : x + self.image_px]
        noisy: Pixels = cv2.subtract(cv2.add(picture, brighter[part]), darker[part])
        return noisy

    @cached_property
    def _noise(self) -> Pixels:
        """Tiles [levels, 2, side, side, 3] from none to full noise, positive and negative parts.

        Drawing normals for every picture costs more than the warp, adding signed numbers four
        times as much.
        """
        side = self.image_px + 64
        normals = np.random.default_rng(0).standard_normal((NOISE_LEVELS, side, side, 3))
        strengths = np.linspace(0, self.recipe.noise, NOISE_LEVELS)
        noise = np.rint(normals * strengths[:, None, None, None])
        return np.stack([noise, -noise], axis=1).clip(0, 255).astype(np.uint8)


def to_input(crops: Pixels, image_px: int) -> Pixels:
    """Crops [n, c, c, 3] as the classifier gets them at inference: [n, image_px, image_px, 3]."""
    shape = (len(crops), image_px, image_px, 3)
    if crops.shape == shape:
        return crops
    pictures = np.empty(shape, np.uint8)
    for i, crop in enumerate(crops):
        pictures[i] = cv2.resize(crop, (image_px, image_px), interpolation=cv2.INTER_AREA)
    return pictures
