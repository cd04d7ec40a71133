"""export-data: each form is read back by the library that users read it with."""

import json
import shutil
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from make import evaluated_project
from pillsnap.dataset.crops import CropStore
from pillsnap.errors import DataError, ParameterError
from pillsnap.interchange import command
from pillsnap.places import Places
from pillsnap.validation.detection_set import DetectionWriter

ALL = 10_000


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """An evaluated project with a detection set."""
    made = evaluated_project.made(tmp_path_factory.getbasetemp())
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(made.artifacts_dir, folder / "artifacts")
    shutil.copytree(made.data_dir, folder / "data")
    writer = DetectionWriter(folder / "data" / "detection")
    jpeg = CropStore(made.crops("train")).arrow.column("jpeg")[0].as_py()
    for split in ("train", "val"):
        writer.add(split, "a.png", jpeg, np.array([[1, 2, 9, 9]]), (32, 32))
    writer.finish()
    return Places(folder / "artifacts", folder / "data", made.scale)


@pytest.fixture
def exported(places, tmp_path):
    def export(form, most=ALL):
        out = tmp_path / form
        assert str(out) in command.export(form, places, out, most)
        return out

    return export


def codes_of(places, split):
    table = CropStore(places.crops(split)).arrow.select(["mapping_code", "known"]).to_pandas()
    return Counter(table["mapping_code"][table["known"]])


def test_torchvision_reads_the_imagefolder(places, exported):
    from torchvision.datasets import ImageFolder

    out = exported("imagefolder")
    for split in ("train", "val"):
        folder = ImageFolder(out / split)
        found = Counter(folder.classes[label] for _, label in folder.samples)
        assert found == codes_of(places, split)


def test_datasets_reads_the_hugging_face_form(places, exported, tmp_path):
    datasets = pytest.importorskip("datasets")
    data = datasets.load_dataset(str(exported("hf")), cache_dir=str(tmp_path / "cache"))
    assert set(data) == {"train", "validation"}
    labels = data["train"].features["label"]
    assert Counter(map(labels.int2str, data["train"]["label"])) == codes_of(places, "train")
    assert data["train"][0]["image"].size == (32, 32)


def test_ultralytics_reads_the_yolo_form(exported):
    from ultralytics.data.utils import check_det_dataset

    out = exported("yolo")
    found = check_det_dataset(out / "dataset.yaml")
    assert found["names"] == {0: "pill"}
    assert str(found["train"]) == str(out / "images" / "train")


def test_coco_reads_labels_and_predictions(exported):
    from faster_coco_eval import COCO

    out = exported("coco")
    truth = COCO(str(out / "annotations.json"))
    assert all((out / "images" / image["file_name"]).is_file() for image in truth.imgs.values())
    assert [a["bbox"] for a in truth.anns.values()] == [[40, 50, 60, 60]] * len(truth.anns)
    results = json.loads((out / "predictions.json").read_text())
    found = truth.loadRes(results)
    assert len(found.anns) == len(results) > 0


def test_label_studio_tasks_are_in_per_cent_and_those_with_most_errors(places, exported):
    out = exported("label-studio", most=3)
    tasks = json.loads((out / "tasks.json").read_text())
    assert len(tasks) == len(list((out / "images").iterdir())) == 3
    [label] = tasks[0]["annotations"][0]["result"]
    value = label["value"]
    assert (value["x"], value["y"]) == (pytest.approx(40 / 3), 25)
    assert (value["width"], value["height"]) == (20, 30)
    assert all(0 <= each["score"] <= 1 for each in tasks[0]["predictions"][0]["result"])
    pills = pd.read_parquet(places.artifacts_dir / "pipeline.parquet")
    errors = (pills["outcome"] != "right").groupby([pills["split"], pills["image_path"]]).sum()
    by_path, chosen = errors.groupby("image_path").max(), [task["data"]["path"] for task in tasks]
    assert by_path[chosen].min() >= by_path.drop(chosen).max()


def test_fiftyone_labels_name_existing_pictures(exported):
    out = exported("fiftyone")
    tree = json.loads((out / "labels.json").read_text())
    assert {path.stem for path in (out / "data").iterdir()} == set(tree["labels"])
    boxes = [each for pills in tree["labels"].values() for each in pills]
    assert all(0 <= side <= 1 for each in boxes for side in each["bounding_box"])
    assert all(tree["classes"][each["label"]] for each in boxes)


def test_nothing_is_overwritten_and_nothing_half_made_is_left(places, tmp_path):
    with pytest.raises(ParameterError, match="Use one of imagefolder, hf"):
        command.export("tfrecord", places, tmp_path / "x", ALL)
    with pytest.raises(ParameterError, match="exists"):
        command.export("hf", places, tmp_path, ALL)
    absent = Places(tmp_path / "none", tmp_path / "none", "demo")
    for form in command.FORMATS:
        with pytest.raises(DataError, match="dvc repro"):
            command.export(form, absent, tmp_path / "out", ALL)
    assert list(tmp_path.iterdir()) == []
