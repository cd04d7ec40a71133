"""Edits made in Label Studio or CVAT: read back, they give the same labels as corrections."""

import json
import random
import shutil
from collections import Counter

import pytest

from make import evaluated_project
from pillsnap.dataset.frames import FrameStore
from pillsnap.errors import DataError
from pillsnap.interchange import command, edited
from pillsnap.manifest import corrections
from pillsnap.manifest.corrections import PhotoPill
from pillsnap.places import Places
from pillsnap.review import edits


def drawn(random_):
    """A code out of three and a box out of few: equal ones are frequent."""
    return f"K-00000{random_.randrange(3)}", tuple(random_.randrange(1, 4) for _ in range(4))


@pytest.mark.parametrize("seed", range(300))
def test_differences_applied_give_the_edited_labels(seed):
    random_ = random.Random(seed)
    before = list({drawn(random_) for _ in range(random_.randrange(5))})
    after = random_.sample(before, random_.randrange(len(before) + 1))
    after = list({*after, *(drawn(random_) for _ in range(random_.randrange(4)))})
    pills = [PhotoPill(*one, at) for at, one in enumerate(before)]
    for row in edits.differences("p", pills, after, "x"):
        pills = corrections.apply(pills, (9, 9), row)
    assert Counter(pill[:2] for pill in pills) == Counter(after)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    made = evaluated_project.made(tmp_path_factory.getbasetemp())
    folder = tmp_path_factory.mktemp("edited")
    shutil.copytree(made.artifacts_dir.parents[1], folder, dirs_exist_ok=True)
    return Places(folder / "artifacts" / "demo", folder / "data" / "demo", "demo")


def labels_of(places):
    found = {}
    for split in ("val", "test"):
        for row in FrameStore(places.frames(split)).arrow.drop_columns(["jpeg"]).to_pylist():
            found[row["image_path"]] = [
                (pill["mapping_code"], tuple(pill[f"box_{side}"] for side in "xywh"))
                for pill in row["pills"]
            ]
    return found


@pytest.fixture
def exported(places, tmp_path):
    def export(form, name):
        command.export(form, places, tmp_path / "out", 10_000)
        path = tmp_path / "out" / name
        return path, json.loads(path.read_text("utf-8"))

    return export


def test_what_was_not_edited_is_read_back_as_it_was(places, exported):
    for form, name in (("label-studio", "tasks.json"), ("coco", "annotations.json")):
        path, _ = exported(form, name)
        assert edited.read(path, places) == labels_of(places)
        shutil.rmtree(path.parent)


def test_edits_of_label_studio(places, exported):
    path, tasks = exported("label-studio", "tasks.json")
    first, second, third = tasks[:3]
    [mark] = first["annotations"][0]["result"]
    mark["value"] |= {"x": 10.0, "rectanglelabels": ["K-000123"]}
    second["annotations"].append({"result": [mark]})  # the last annotation counts
    third["annotations"][0]["was_cancelled"] = True
    path.write_text(json.dumps(tasks), "utf-8")
    found, paths = edited.read(path, places), [task["data"]["path"] for task in tasks]
    assert found[paths[0]] == found[paths[1]] == [("K-000123", (30, 50, 60, 60))]
    assert paths[2] not in found and found[paths[3]] == labels_of(places)[paths[3]]


def test_edits_of_cvat(places, exported):
    path, tree = exported("coco", "annotations.json")
    tree["categories"].append({"id": 99, "name": "드림정 5mg"})
    one, two = tree["images"][:2]
    tree["annotations"] = [
        {"image_id": one["id"], "category_id": 99, "bbox": [-0.4, 1.6, 20.2, 500.0]}
    ]
    one["file_name"] = f"images/{one['file_name']}"
    path.write_text(json.dumps(tree), "utf-8")
    found = list(edited.read(path, places).values())
    assert found[0] == [("드림정 5mg", (0, 2, 20, 198))] and found[1] == [] and two


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda tasks: tasks[0]["data"].update(image="x/other.jpg"), "other.jpg is no frame"),
        (lambda tasks: mark_of(tasks).update(rotation=5), "a rotated box in val_"),
        (lambda tasks: mark_of(tasks).update(rectanglelabels=["unknown"]), "label 'unknown'"),
        (lambda tasks: mark_of(tasks).update(width=0), "without area"),
        (lambda tasks: tasks[0].pop("annotations"), "no export of labelled frames"),
    ],
)
def test_what_is_no_label_is_refused(places, exported, change, fact):
    path, tasks = exported("label-studio", "tasks.json")
    change(tasks)
    path.write_text(json.dumps(tasks), "utf-8")
    with pytest.raises(DataError, match="Export it again as JSON") as refused:
        edited.read(path, places)
    assert fact in refused.value.fact


def mark_of(tasks):
    return tasks[0]["annotations"][0]["result"][0]["value"]
