import numpy as np

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


def augmented(seed, picture=None, recipe=STILL, **changes):
    """The augmented picture (the crop above without one), as signed numbers."""
    augmenter = Augmenter(64, recipe.model_copy(update=changes))
    crop = corner_crop() if picture is None else picture
    return augmenter(crop, np.random.default_rng(seed)).astype(int)


def test_the_same_key_gives_the_same_picture_and_nothing_asked_the_crop_itself():
    first = augmented((1, 2, 3), recipe=RECIPE)
    assert np.array_equal(first, augmented((1, 2, 3), recipe=RECIPE))
    assert not np.array_equal(first, augmented((1, 2, 4), recipe=RECIPE))
    assert np.array_equal(augmented(0), corner_crop())
    crops = np.stack([corner_crop()] * 2)
    assert to_input(crops, 32).shape == (2, 32, 32, 3)
    assert to_input(crops, 64) is crops


def test_never_mirrored():
    for seed in range(40):
        picture = augmented(seed, rotate_degrees=180.0)
        angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
        y, x = (32 - 20 * np.cos(angles)).astype(int), (32 + 20 * np.sin(angles)).astype(int)
        around = picture[y, x, 0]
        clockwise = (40, 90, 220, 150)
        middles = [np.angle(np.exp(1j * angles[abs(around - v) < 6]).mean()) for v in clockwise]
        turns = np.diff([*middles, middles[0]]) % (2 * np.pi)
        assert np.allclose(turns, np.pi / 2, atol=0.2), seed


def test_each_knob_changes_the_picture_and_temperature_moves_red_and_blue_apart():
    for knob in (
        {"brightness": 0.4},
        {"contrast": 0.4},
        {"temperature_shift": 0.4},
        {"noise": 8.0},
    ):
        pictures = [augmented(i, **knob) for i in range(4)]
        assert any(not np.array_equal(picture, corner_crop()) for picture in pictures), knob
    grey = np.full((64, 64, 3), 120, np.uint8)
    shifts = [augmented(i, grey, temperature_shift=0.3).mean((0, 1)) - 120 for i in range(8)]
    assert all(red * blue <= 0 for red, _, blue in shifts)
    assert max(abs(red) for red, _, _ in shifts) > 5
