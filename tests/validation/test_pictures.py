"""The pictures chosen for each photo, from the rows only."""

import pandas as pd
import pytest

from make.photo_set import PhotoSet, make
from pillsnap.validation.pictures import kinds_of
from pillsnap.validation.work_store import Kind

NONE: frozenset[str] = frozenset()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> PhotoSet:
    return make(tmp_path_factory.mktemp("photos"))


def having(photos: PhotoSet, kind: Kind, partly_labelled: frozenset[str] = NONE) -> pd.DataFrame:
    kinds = kinds_of(photos.rows, partly_labelled, photos.settings.scale, photos.settings.seed)
    frames = photos.rows.drop_duplicates("image_path")
    return frames[[kind in kinds[path] for path in frames["image_path"]]]


def test_each_kind_is_made_of_its_splits(photos: PhotoSet) -> None:
    assert len(having(photos, Kind.CROP)) == photos.rows["image_path"].nunique()
    assert set(having(photos, Kind.DETECTION)["split"]) == {"train", "val"}
    assert set(having(photos, Kind.FRAME)["split"]) == {"val", "test"}


def test_val_gets_its_part_of_single_detection_frames(photos: PhotoSet) -> None:
    chosen = having(photos, Kind.DETECTION)
    singles = chosen[chosen["image_type"] == "single"].groupby("split").size()
    share = photos.settings.scale.val_share
    wanted = photos.settings.scale.detection_single_frames
    assert dict(singles) == {"train": wanted, "val": round(wanted * share / (1 - share))}


def test_evaluation_frames_are_limited_for_each_kind(photos: PhotoSet) -> None:
    few = photos.settings.scale.model_copy(update={"evaluation_frames": 1})
    kinds = kinds_of(photos.rows, NONE, few, photos.settings.seed)
    assert sum(Kind.FRAME in kind for kind in kinds.values()) == 4


@pytest.mark.parametrize(("split", "kind"), [("train", Kind.DETECTION), ("val", Kind.FRAME)])
def test_a_partly_labelled_combination_gives_crops_only(
    photos: PhotoSet, split: str, kind: Kind
) -> None:
    path = photos.photo(split, "combination")
    assert path in set(having(photos, kind)["image_path"])
    assert path not in set(having(photos, kind, frozenset([path]))["image_path"])
    assert path in set(having(photos, Kind.CROP, frozenset([path]))["image_path"])


def test_the_choice_is_the_same_for_any_order_of_rows(photos: PhotoSet) -> None:
    scale, seed = photos.settings.scale, photos.settings.seed
    assert kinds_of(photos.rows, NONE, scale, seed) == kinds_of(
        photos.rows[::-1], NONE, scale, seed
    )
