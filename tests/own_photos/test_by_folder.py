import json
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from make import aihub_tree, evaluated_project
from make.drawn_models import GREEN, RED, STRANGE, frame, recogniser
from make.import_graph import ROOT
from pillsnap.errors import DataError
from pillsnap.own_photos import by_folder
from pillsnap.prediction import load
from pillsnap.prediction.load import Loaded

ONE = (20, 30, 60)


def photo(folder, code, name, *pills):
    path = folder / code / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(frame(*pills)).save(path)


def figures(folder):
    loaded = Loaded(recogniser(), 4, 200_000, "torch", "demo", folder / "none.json")
    return by_folder.evaluate(loaded, by_folder.photos_in(folder))


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
    assert found["unknown"] == {"photos": 2, "frame_exact": 0.5, "named": 0.5}
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
    assert [one.code for one in by_folder.photos_in(tmp_path)] == ["K-000000"]


def test_a_folder_without_codes_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="K-012345"):
        by_folder.photos_in(tmp_path)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project with figures, its models drawn."""
    folder = tmp_path / "project"
    path = folder / "artifacts/demo/evaluation.json"
    path.parent.mkdir(parents=True)
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    part = {"frame_exact": 0.75, "pill_f1": 0.5, "pill_precision": 0.5, "pill_recall": 0.5}
    measured = {"pipeline": {"single": part}, "provenance": {"classification_sha256": ""}}
    path.write_text(json.dumps(measured))
    monkeypatch.chdir(folder)
    asked = Loaded(recogniser(), 4, 200_000, "torch", "demo", folder / "none.json")
    monkeypatch.setattr(load, "load", lambda *_: asked)
    return folder


def test_the_screen_says_the_figures_the_worst_codes_and_the_gap(project, tmp_path) -> None:
    photo(tmp_path / "mine", "K-000000", "a.png", (*ONE, RED))
    photo(tmp_path / "mine", "K-000000", "b.png", (*ONE, GREEN))
    text = by_folder.run(tmp_path / "mine", "cpu", "torch", None)
    assert "2 photos of 1 codes, exact 0.500" in text
    assert "K-000000  1/2 right" in text
    assert "gap -0.250" in text


def test_a_folder_given_in_nfc_is_found_where_the_disk_has_it_in_nfd(project, tmp_path) -> None:
    name = "내 약 사진"
    photo(tmp_path / unicodedata.normalize("NFD", name), "K-000000", "가.png", (*ONE, RED))
    text = by_folder.run(tmp_path / unicodedata.normalize("NFC", name), "cpu", "torch", None)
    assert "1 photos of 1 codes, exact 1.000" in text


def test_a_folder_of_which_no_photo_can_be_read_is_refused(project, tmp_path) -> None:
    (tmp_path / "mine/K-000000").mkdir(parents=True)
    (tmp_path / "mine/K-000000/a.png").write_bytes(b"words")
    with pytest.raises(DataError, match="no photo that can be used") as refusal:
        by_folder.run(tmp_path / "mine", "cpu", "torch", None)
    assert "a.png: not a picture" in refusal.value.fact


def test_photos_with_labels_are_measured_by_their_boxes(project, tmp_path) -> None:
    shot = aihub_tree.Shot(("K-000000",), size=(300, 200))
    aihub_tree.write_shot(tmp_path / "mine", shot)
    box = aihub_tree.box_of(shot, "K-000000")
    Image.fromarray(frame((box[0], box[1], 60, RED))).save(
        aihub_tree.photo_path(tmp_path / "mine", shot)
    )
    text = by_folder.run(tmp_path / "mine", "cpu", "torch", None)
    assert "single photos of learnt drugs: 1 with 1 pills" in text


def test_a_folder_whose_labels_are_all_unusable_is_refused_with_their_reasons(
    project, tmp_path
) -> None:
    shot = aihub_tree.Shot(("K-000000",), size=(300, 200))
    aihub_tree.write_shot(tmp_path / "mine", shot)
    aihub_tree.label_path(tmp_path / "mine", shot).write_text("{}")
    with pytest.raises(DataError, match="label_keys_missing: 1"):
        by_folder.run(tmp_path / "mine", "cpu", "torch", None)


def test_a_bundle_can_be_measured(tmp_path_factory, tmp_path, monkeypatch) -> None:
    base = tmp_path_factory.getbasetemp()
    bundle = evaluated_project.exported(base)
    monkeypatch.chdir(evaluated_project.made(base).artifacts_dir.parent.parent)
    photo(tmp_path, "K-000000", "a.png", (*ONE, RED))
    text = by_folder.run(tmp_path, "cpu", "onnx", bundle.folder)
    assert "1 photos of 1 codes" in text
    assert "(pipeline.single.frame_exact of val: test has no such photos), gap" in text


def test_what_is_no_folder_is_refused(project, tmp_path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        by_folder.run(tmp_path / "none", "cpu", "torch", None)
