"""validate and predict give one answer to a picture file: the same pixels, or a refusal by both."""

from pathlib import Path

import numpy as np
import pytest

from make.odd_pictures import AS_THEY_ARE, CONVERTED, DAMAGED, DAMAGED_JPEGS, JPEGS, PIXELS
from pillsnap.dataset import pixels as stored
from pillsnap.prediction import pictures
from pillsnap.prediction.pictures import PictureDamagedError
from pillsnap.validation import photos
from pillsnap.validation.photos import FrameError

LIMIT = 10**6


def predicted(path: Path, content: bytes) -> np.ndarray:
    path.write_bytes(content)
    return pictures.read(path, LIMIT).pixels


def validated(path: Path, content: bytes) -> np.ndarray:
    path.write_bytes(content)
    return photos.read_frame(path, LIMIT).pixels


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_what_does_not_change_pixels_is_no_reason_to_refuse_a_png(tmp_path, name: str) -> None:
    for reader in (validated, predicted):
        np.testing.assert_array_equal(reader(tmp_path / "a.png", AS_THEY_ARE[name]), PIXELS)


@pytest.mark.parametrize("name", CONVERTED)
def test_both_convert_a_png_alike(tmp_path, name: str) -> None:
    content, expected = CONVERTED[name]
    found = validated(tmp_path / "a.png", content)
    np.testing.assert_array_equal(found, predicted(tmp_path / "a.png", content))
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1  # of blending


@pytest.mark.parametrize("name", DAMAGED)
def test_both_refuse_a_png_whose_pixels_are_damaged(tmp_path, name: str) -> None:
    with pytest.raises(FrameError) as refusal:
        validated(tmp_path / "a.png", DAMAGED[name])
    assert refusal.value.reason == "photo_damaged"
    with pytest.raises(PictureDamagedError):
        predicted(tmp_path / "a.png", DAMAGED[name])


@pytest.mark.parametrize("name", JPEGS)
def test_predict_reads_a_jpeg_upright_and_validate_says_that_it_is_no_png(tmp_path, name) -> None:
    content, expected = JPEGS[name]
    found = predicted(tmp_path / "a.jpg", content)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 4
    with pytest.raises(FrameError, match="a JPEG") as refusal:
        validated(tmp_path / "a.png", content)
    assert refusal.value.reason == "photo_not_png"


@pytest.mark.parametrize("name", ["plain", "progressive", "comment", "grey"])
def test_predict_reads_a_jpeg_as_evaluate_reads_its_frames(tmp_path, name: str) -> None:
    content = JPEGS[name][0]
    np.testing.assert_array_equal(predicted(tmp_path / "a.jpg", content), stored.decode(content))


@pytest.mark.parametrize("name", DAMAGED_JPEGS)
def test_a_damaged_jpeg_is_refused(tmp_path, name: str) -> None:
    with pytest.raises(PictureDamagedError):
        predicted(tmp_path / "a.jpg", DAMAGED_JPEGS[name])
