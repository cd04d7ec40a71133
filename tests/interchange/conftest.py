"""What the tests of exports share."""

import shutil

import pytest

from pillsnap.dataset.frames import FrameStore
from pillsnap.params import load
from pillsnap.places import Places
from pillsnap.validation.detection_set import DetectionWriter


@pytest.fixture
def places(evaluated, tmp_path, monkeypatch):
    """A copy of the evaluated project with a detection set, as working folder."""
    shutil.copytree(evaluated.artifacts_dir.parents[1], tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    places = Places.of(load())
    writer = DetectionWriter(places.data_dir / "detection")
    for at, row in enumerate(FrameStore(places.frames("val")).arrow.slice(0, 4).to_pylist()):
        box = [[row["pills"][0][f"box_{side}"] for side in "xywh"]]
        size = row["width"], row["height"]
        writer.add(("train", "val")[at % 2], f"{at}.png", row["jpeg"], box, size)
    writer.finish()
    return places
