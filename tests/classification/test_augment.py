"""Augmentation: the same for the same key, never mirrored, as strong as asked."""

import numpy as np
import pytest

from make.import_graph import ROOT
from pillsnap import params
from pillsnap.classification.augment import Augmenter, to_input

RECIPE = params.load(ROOT / "params.yaml").train_classification
KNOBS = "rotate_degrees scale translate brightness contrast temperature_shift blur noise"
STILL = RECIPE.model_copy(update=dict.fromkeys(KNOBS.split(), 0.0))


def corner_crop():
    """A crop whose four quarters differ: any flip shows."""
    crop = np.zeros((64, 64, 3), np.uint8)
    crop[:32, :32], crop[:32, 32:], crop[32:, :32], crop[32:, 32:] = 40, 90, 150, 220
    return crop


def test_same_generator_gives_the_same_picture():
    augmenter = Augmenter(48, RECIPE)
    first = augmenter(corner_crop(), np.random.default_rng((1, 2, 3)))
    assert np.array_equal(first, augmenter(corner_crop(), np.random.default_rng((1, 2, 3))))
    assert not np.array_equal(first, augmenter(corner_crop(), np.random.default_rng((1, 2, 4))))


def test_nothing_asked_leaves_the_crop_as_it_is():
    picture = Augmenter(64, STILL)(corner_crop(), np.random.default_rng(0))
    assert np.array_equal(picture, corner_crop())


def test_never_mirrored():
    turning = STILL.model_copy(update={"rotate_degrees": 180.0})
    for seed in range(40):
        picture = Augmenter(64, turning)(corner_crop(), np.random.default_rng(seed)).astype(int)
        angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
        y, x = (32 - 20 * np.cos(angles)).astype(int), (32 + 20 * np.sin(angles)).astype(int)
        around = picture[y, x, 0]
        clockwise = (40, 90, 220, 150)
        middles = [np.angle(np.exp(1j * angles[abs(around - v) < 6]).mean()) for v in clockwise]
        turns = np.diff([*middles, middles[0]]) % (2 * np.pi)
        assert np.allclose(turns, np.pi / 2, atol=0.2), seed


@pytest.mark.parametrize("name", ["brightness", "contrast", "temperature_shift", "noise"])
def test_each_knob_changes_the_picture(name):
    strong = STILL.model_copy(update={name: 8.0 if name == "noise" else 0.4})
    pictures = [Augmenter(64, strong)(corner_crop(), np.random.default_rng(i)) for i in range(4)]
    assert any(not np.array_equal(picture, corner_crop()) for picture in pictures)


def test_temperature_moves_red_and_blue_apart():
    warm = STILL.model_copy(update={"temperature_shift": 0.3})
    grey = np.full((32, 32, 3), 120, np.uint8)
    shifts = []
    for seed in range(8):
        mean = Augmenter(32, warm)(grey, np.random.default_rng(seed)).mean((0, 1)) - 120
        assert mean[0] * mean[2] <= 0
        shifts.append(abs(mean[0]))
    assert max(shifts) > 5


def test_input_in_use_is_the_crop_scaled():
    crops = np.stack([corner_crop()] * 2)
    assert to_input(crops, 32).shape == (2, 32, 32, 3)
    assert to_input(crops, 64) is crops
