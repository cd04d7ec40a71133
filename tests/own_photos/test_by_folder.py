import json
import shutil
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from make import aihub_tree
from make.drawn_models import GREEN, RED, STRANGE, classes, frame, recogniser
from make.import_graph import ROOT
from make.services import loaded
from pillsnap.errors import DataError
from pillsnap.imprint.reader import Reading
from pillsnap.own_photos import by_folder
from pillsnap.prediction import load, predict
from pillsnap.prediction.imprints import Imprints
from pillsnap.prediction.load import Loaded

ONE = (20, 30, 60)


def photo(folder, code, name, *pills):
    path = folder / code / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(frame(*pills)).save(path)


def measured(folder):
    return by_folder.evaluate(loaded(folder), by_folder.photos_in(folder))


def test_every_outcome_is_counted(tmp_path) -> None:
    with pytest.raises(DataError, match="K-012345"):
        by_folder.photos_in(tmp_path)
    photo(tmp_path, "K-000000", "right.png", (*ONE, RED))
    photo(tmp_path, "K-000000", "wrong.png", (*ONE, GREEN))
    photo(tmp_path, "K-000000", "refused.png", (*ONE, STRANGE))
    photo(tmp_path, "K-000000", "none.png")
    photo(tmp_path, "K-000000", "two.png", (*ONE, RED), (150, 40, 50, RED))
    photo(tmp_path, "K-999999", "named.png", (*ONE, RED))
    photo(tmp_path, "K-999999", "unknown.png", (*ONE, STRANGE))
    photo(tmp_path, "holidays", "b.png", (*ONE, RED))
    (tmp_path / "K-000000/broken.png").write_bytes(b"words")
    found = measured(tmp_path)
    assert found["photos"] == 8
    assert "not a picture" in found["refused"][0]["fact"]
    assert found["outcomes"] == {
        "right": 2, "wrong_name": 1, "known_refused": 1, "unknown_named": 1, "no_pill": 1,
        "several_pills": 1,
    }  # fmt: skip
    assert found["unknown"] == {"photos": 2, "frame_exact": 0.5, "named": 0.5}
    known = found["known"]
    assert (known["photos"], known["frame_exact"], known["top5"]) == (5, 0.2, 0.8)
    assert found["by_code"][0] == {"code": "K-000000", "photos": 5, "right": 1}


def test_imprints_are_compared_with_the_drug_of_the_folder(tmp_path) -> None:
    class Reader:
        def read(self, crops):
            return [Reading("AB12" if crop[40, 40, 0] > 200 else "", 0.9) for crop in crops]

    table = classes().assign(print_front=["AB 12", "XY 77", "", ""], print_back="")
    table = table.assign(drug_shape="", color_class1="", color_class2="", item_seq="1")
    table.assign(train_pills=1).to_csv(tmp_path / "classes.csv", index=False)
    tool = recogniser()
    tool.classes = table
    models = Loaded(tool, 4, 200_000, "torch", "demo", tmp_path / "none.json")
    for code, name, *pills in (
        ("K-000000", "1.png", (*ONE, RED)), ("K-000001", "2.png", (*ONE, RED)),
        ("K-000001", "3.png", (*ONE, GREEN)), ("K-000001", "4.png"),
        ("K-999999", "5.png", (*ONE, RED)),
    ):  # fmt: skip
        photo(tmp_path, code, name, *pills)
    photos = by_folder.photos_in(tmp_path)
    assert "rapidocr" in by_folder.imprint_lines(models, photos)[0]
    reading = Imprints(Reader(), table, tmp_path / "classes.csv")
    lines = by_folder.imprint_lines(replace(models, imprints=reading), photos)
    assert lines == [
        "imprints of 3 photos: 1 agree with their drug, 1 contradict it",
        "  K-000001  0 agree, 1 contradict",
    ]


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project with metrics and drawn models."""
    folder = tmp_path / "project"
    (folder / "artifacts/demo").mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", folder)
    single = {"pipeline": {"single": {"frame_exact": 0.75}}}
    text = json.dumps(single | {"provenance": {"classification_sha256": ""}})
    (folder / "artifacts/demo/evaluation.json").write_text(text)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(load, "load", lambda *_, **__: loaded(folder))
    return folder


def test_the_text_shows_the_metrics_the_worst_codes_and_the_gap(project, tmp_path) -> None:
    name = "내 약 사진"  # asked for in NFC, on disk in NFD
    folder = tmp_path / unicodedata.normalize("NFD", name)
    photo(folder, "K-000000", "a.png", (*ONE, RED))
    photo(folder, "K-000000", "b.png", (*ONE, GREEN))
    asked = predict.folder(tmp_path / unicodedata.normalize("NFC", name))
    text = by_folder.run(asked, "cpu", "torch", None)
    assert "2 photos of 1 codes, exact 0.500" in text
    assert "K-000000  1/2 right" in text
    assert "gap -0.250" in text
    for path in (folder / "K-000000").iterdir():
        path.write_bytes(b"words")
    with pytest.raises(DataError, match=r"no photo that can be used(.|\n)*a\.png: not a picture"):
        by_folder.run(folder, "cpu", "torch", None)


def test_photos_with_labels_are_measured_or_refused_with_the_reasons(project, tmp_path) -> None:
    shot = aihub_tree.Shot(("K-000000",), size=(300, 200))
    aihub_tree.write_shot(tmp_path / "mine", shot)
    box = aihub_tree.box_of(shot, "K-000000")
    path = aihub_tree.photo_path(tmp_path / "mine", shot)
    Image.fromarray(frame((box[0], box[1], 60, RED))).save(path)
    text = by_folder.run(tmp_path / "mine", "cpu", "torch", None)
    assert "single photos of known drugs: 1 with 1 pills" in text
    aihub_tree.label_path(tmp_path / "mine", shot).write_text("{}")
    with pytest.raises(DataError, match="label_keys_missing: 1"):
        by_folder.run(tmp_path / "mine", "cpu", "torch", None)


def test_a_bundle_can_be_measured(evaluated, exported, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(evaluated.artifacts_dir.parents[1])
    photo(tmp_path, "K-000000", "a.png", (*ONE, RED))
    text = by_folder.run(tmp_path, "cpu", "onnx", exported.folder)
    assert "1 photos of 1 codes" in text
    assert "(pipeline.single.frame_exact of val: test has no such photos), gap" in text


def test_folders_may_be_named_by_drugs_of_the_classes(tmp_path) -> None:
    for place in ("train/알약 a/1.jpg", "K-000001/2.jpg", "new drug/x/3.jpg", "4.jpg"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    found = by_folder.photos_in(tmp_path, {"알약 a"})
    assert {(path.name, code) for path, code in found} == {
        ("1.jpg", "알약 a"), ("2.jpg", "K-000001"), ("3.jpg", "new drug"),
    }  # fmt: skip
    assert [code for _, code in by_folder.photos_in(tmp_path, {"another"})] == ["K-000001"]
