"""The detection set: scaling, labels, the YOLO folder."""

import errno
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from pillsnap import files
from pillsnap.dataset.pixels import scale_down
from pillsnap.validation.detection_set import DetectionWriter, label_text


def test_the_longest_side_is_scaled_down_never_up():
    frame = np.zeros((1280, 976, 3), dtype=np.uint8)
    assert scale_down(frame, 320).shape == (320, 244, 3)
    assert scale_down(frame.transpose(1, 0, 2), 320).shape == (244, 320, 3)
    assert scale_down(frame, 1280) is frame


def test_labels_are_centres_and_sizes_relative_to_the_frame():
    assert label_text(np.array([[10, 20, 40, 30]]), 100, 200) == (
        "0 0.300000 0.175000 0.400000 0.150000\n"
    )


FRAME = (b"jpeg", np.array([[1, 2, 3, 4]]), (10, 10))


def written(folder: Path, *paths: str) -> list[str]:
    writer = DetectionWriter(folder)
    for path in paths:
        writer.add("train", path, *FRAME)
    writer.finish()
    names = sorted(path.stem for path in (folder / "images" / "train").iterdir())
    assert names == sorted(path.stem for path in (folder / "labels" / "train").iterdir())
    return names


@pytest.mark.parametrize(
    "paths", [("a/x.png", "b/x.png"), ("a/알약.png", "b/약.png"), ("a/" + "x" * 251 + ".png",)]
)
def test_names_are_flat_ascii_short_and_unique(tmp_path, paths):
    names = written(tmp_path / "set", *paths)
    assert len(names) == len(paths)
    assert all(name.isascii() and len(name) < 240 for name in names)


def test_a_set_is_there_once_finished_and_replaces_the_one_before(tmp_path):
    DetectionWriter(tmp_path / "set").add("train", "a/x.png", *FRAME)
    assert not (tmp_path / "set").exists()
    names = ["K-000001_0", "K-000002_0"]
    assert written(tmp_path / "set", *(f"a/{name}.png" for name in names)) == names
    assert written(tmp_path / "set", "a/new.png") == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.slow
def test_a_set_that_cannot_be_removed_is_a_fault_of_the_disk(tmp_path, monkeypatch):
    def unlink(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    written(tmp_path / "set", "a.png")
    monkeypatch.setattr("os.unlink", unlink)
    with pytest.raises(OSError, match="Input/output error") as failed:
        written(tmp_path / "set", "b.png")
    assert files.disk_fault(failed.value) is not None


def test_ultralytics_finds_the_set_from_anywhere(tmp_path, monkeypatch):
    import_module("pillsnap.detection.settings")  # sets Ultralytics' switches before its import
    check_det_dataset = import_module("ultralytics.data.utils").check_det_dataset
    written(tmp_path / "set", "a/x.png")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = check_det_dataset(str(tmp_path / "set" / "dataset.yaml"), autodownload=False)
    assert Path(found["train"]) == tmp_path / "set" / "images" / "train"
    assert found["names"] == {0: "pill"}
