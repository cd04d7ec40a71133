"""Pictures that grow: where they begin, when they are whole."""

from pillsnap.classification.image_growth import ImageGrowth


def test_pictures_grow_by_steps_to_half_of_the_epochs():
    growth = ImageGrowth(96, 224, 8)
    assert [growth.at(epoch) for epoch in range(8)] == [96, 128, 160, 192, 224, 224, 224, 224]


def test_steps_are_of_32_px_until_the_last():
    growth = ImageGrowth(96, 200, 12)
    assert [growth.at(epoch) for epoch in range(7)] == [96, 96, 128, 128, 160, 160, 200]


def test_a_single_epoch_is_at_full_size():
    assert ImageGrowth(96, 224, 1).at(0) == 224
