import json

import pytest
from PIL import Image

from drawn_models import GREEN, RED, STRANGE, frame, recogniser
from pillsnap import field_photos
from pillsnap.errors import DataError
from pillsnap.loading import Loaded

ONE = (20, 30, 60)


def photo(folder, code, name, *pills):
    path = folder / code / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(frame(*pills)).save(path)


def figures(folder):
    loaded = Loaded(recogniser(), 4, 200_000, "torch", "demo", folder / "none.json")
    return field_photos.evaluate(loaded, field_photos.photos_in(folder), 20, 0)


def test_a_photo_of_one_rightly_named_pill_is_exact(tmp_path) -> None:
    photo(tmp_path, "K-000000", "a.png", (*ONE, RED))
    photo(tmp_path, "K-000000", "b.png", (*ONE, GREEN))
    found = figures(tmp_path)
    assert found["known"]["frame_exact"] == 0.5
    assert found["known"]["top5"] == 1.0
    assert found["by_code"] == [{"code": "K-000000", "photos": 2, "right": 1}]


def test_every_outcome_is_counted(tmp_path) -> None:
    photo(tmp_path, "K-000000", "right.png", (*ONE, RED))
    photo(tmp_path, "K-000000", "wrong.png", (*ONE, GREEN))
    photo(tmp_path, "K-000000", "refused.png", (*ONE, STRANGE))
    photo(tmp_path, "K-000000", "none.png")
    photo(tmp_path, "K-000000", "two.png", (*ONE, RED), (150, 40, 50, RED))
    photo(tmp_path, "K-999999", "named.png", (*ONE, RED))
    photo(tmp_path, "K-999999", "strange.png", (*ONE, STRANGE))
    found = figures(tmp_path)
    assert found["outcomes"] == {
        "right": 2, "wrong_name": 1, "known_refused": 1, "unknown_named": 1, "no_pill": 1,
        "several_pills": 1,
    }  # fmt: skip
    assert found["unknown"] == {"photos": 2, "named": 0.5}
    assert found["known"]["photos"] == 5


def test_a_photo_that_cannot_be_read_is_listed_and_not_counted(tmp_path) -> None:
    photo(tmp_path, "K-000000", "a.png", (*ONE, RED))
    (tmp_path / "K-000000/b.png").write_bytes(b"words")
    found = figures(tmp_path)
    assert (found["photos"], found["known"]["photos"]) == (2, 1)
    assert "not a picture" in found["refused"][0]["fact"]


def test_other_folders_are_passed_over(tmp_path) -> None:
    photo(tmp_path, "K-000000", "a.png", (*ONE, RED))
    photo(tmp_path, "holidays", "b.png", (*ONE, RED))
    assert [one.code for one in field_photos.photos_in(tmp_path)] == ["K-000000"]


def test_a_folder_without_codes_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="K-012345"):
        field_photos.photos_in(tmp_path)


def test_the_gap_is_the_difference_to_the_data_sets_single_photos(tmp_path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({"pipeline": {"single": {"frame_exact": 0.75}}}))
    gap = field_photos.gap({"known": {"frame_exact": 0.5}}, path)
    assert gap == {"frame_exact": -0.25, "own": 0.5, "studio_single": 0.75}


def test_a_gap_that_cannot_be_computed_says_why(tmp_path) -> None:
    gap = field_photos.gap({"known": {"frame_exact": 0.5}}, tmp_path / "metrics.json")
    assert gap["frame_exact"] is None
    assert "dvc repro" in gap["reason"]


def test_the_screen_says_the_figures_and_the_gap(tmp_path) -> None:
    photo(tmp_path, "K-000000", "a.png", (*ONE, RED))
    photo(tmp_path, "K-000000", "b.png", (*ONE, GREEN))
    found = figures(tmp_path)
    text = field_photos.render({**found, "gap": field_photos.gap(found, tmp_path / "none.json")})
    assert "2 photos of 1 codes, exact 0.500" in text
    assert "K-000000  1/2 right" in text
    assert "dvc repro" in text
