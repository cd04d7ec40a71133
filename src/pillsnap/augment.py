"""Training pictures out of crops: one warp for the geometry, one table for light and colour.

No mirroring, ever: an imprint read backwards is another imprint. Any rotation: pills lie as they
like. Little change of hue: colour tells pills apart.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from pillsnap.params import TrainClassificationParams

Picture = NDArray[np.uint8]

NOISE_LEVELS = 5
GREYS = np.arange(256, dtype=np.float32)


@dataclass(frozen=True)
class Augmenter:
    """Turns a crop [c, c, 3] into a training picture [image_px, image_px, 3]."""

    image_px: int
    recipe: TrainClassificationParams

    def __call__(self, crop: Picture, rng: np.random.Generator) -> Picture:
        """One random view; the same generator state gives the same picture."""
        picture = self._warp(crop, rng)
        if rng.random() < self.recipe.blur:
            picture = cv2.GaussianBlur(picture, (3, 3), 0)
        picture = self._light(picture, rng)
        return self._sensor(picture, rng)

    def _warp(self, crop: Picture, rng: np.random.Generator) -> Picture:
        angle = rng.uniform(-self.recipe.rotate_degrees, self.recipe.rotate_degrees)
        zoom = (1 + rng.uniform(-self.recipe.scale, self.recipe.scale)) * self.image_px / len(crop)
        shift = rng.uniform(-self.recipe.translate, self.recipe.translate, 2) * self.image_px
        centre = (len(crop) - 1) / 2
        matrix = cv2.getRotationMatrix2D((centre, centre), angle, zoom)
        matrix[:, 2] += (self.image_px - 1) / 2 - centre + shift
        warped: Picture = cv2.warpAffine(
            crop,
            matrix,
            (self.image_px, self.image_px),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return warped

    def _light(self, picture: Picture, rng: np.random.Generator) -> Picture:
        brightness = 1 + rng.uniform(-self.recipe.brightness, self.recipe.brightness)
        contrast = 1 + rng.uniform(-self.recipe.contrast, self.recipe.contrast)
        warmth = rng.uniform(-self.recipe.temperature_shift, self.recipe.temperature_shift)
        gains = np.array([1 + warmth, 1.0, 1 - warmth], dtype=np.float32) * brightness
        table = (GREYS[:, None] * gains - 127.5) * contrast + 127.5
        lit: Picture = cv2.LUT(picture, np.clip(table, 0, 255).astype(np.uint8)[None])
        return lit

    def _sensor(self, picture: Picture, rng: np.random.Generator) -> Picture:
        tile = self._noise[rng.integers(len(self._noise))]
        y, x = rng.integers(0, tile.shape[0] - self.image_px + 1, 2)
        noise = tile[y : y + self.image_px, x : x + self.image_px]
        noisy: Picture = cv2.add(picture, noise, dtype=cv2.CV_8U)
        return noisy

    @cached_property
    def _noise(self) -> NDArray[np.int16]:
        """Tiles of none to full noise: normals for every picture would cost more than the warp."""
        side = self.image_px + 64
        normals = np.random.default_rng(0).standard_normal((NOISE_LEVELS, side, side, 3))
        strengths = np.linspace(0, self.recipe.noise, NOISE_LEVELS)
        return np.asarray(np.rint(normals * strengths[:, None, None, None]), dtype=np.int16)


def to_input(crops: NDArray[np.uint8], image_px: int) -> NDArray[np.uint8]:
    """Crops [n, c, c, 3] as the classifier sees them in use: [n, image_px, image_px, 3]."""
    shape = (len(crops), image_px, image_px, 3)
    if crops.shape == shape:
        return crops
    pictures = np.empty(shape, np.uint8)
    for i, crop in enumerate(crops):
        pictures[i] = cv2.resize(crop, (image_px, image_px), interpolation=cv2.INTER_AREA)
    return pictures
