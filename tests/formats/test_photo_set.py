"""Sets in the forms of other tools: what becomes of each photo, label line and layout."""

import shutil
from urllib.parse import unquote

import orjson
import pytest
from PIL import Image

from make import own_sets
from make.own_sets import DRUGS
from pillsnap.dataset import pictures
from pillsnap.dataset.findings import Findings
from pillsnap.dataset.names import code_of, is_code
from pillsnap.errors import DataError
from pillsnap.formats import listing, photo_set

DRAWN = own_sets.photos(40)
NAMES = "names: [a, b]\n"


def read(root, form):
    return photo_set.read(root, form, listing.walk(root))


def boxes_of(found):
    return {photo.image_path.rpartition("/")[2]: photo.pills for photo in found.photos}


def test_the_forms_of_one_set_give_the_same_boxes_and_drugs(tmp_path):
    of_yolo = read(own_sets.yolo(tmp_path / "yolo", DRAWN), "yolo")
    of_coco = read(own_sets.coco(tmp_path / "coco", DRAWN), "coco")
    assert boxes_of(of_yolo) == boxes_of(of_coco)
    for photo in DRAWN:
        pills = [p for name, p in boxes_of(of_yolo).items() if name.startswith(f"{photo.name}.")]
        wanted = sorted((DRUGS[number], *box) for number, box in photo.pills)
        assert [list(map(tuple, one)) for one in pills] == ([wanted] if wanted else [])
    backgrounds = sum(not photo.pills for photo in DRAWN)  # label file empty or missing
    assert of_yolo.left_out.counts == of_coco.left_out.counts == {"background_photo": backgrounds}
    folders = read(own_sets.imagefolder(tmp_path / "folders", DRAWN), "imagefolder")
    single = {n: p[0] for n, p in boxes_of(of_yolo).items() if len(p) == 1}
    for name, [pill] in boxes_of(folders).items():
        assert pill.drug == single[name].drug.replace("/", "-")
        assert pill[1:] == (0, 0, *single[name][3:])  # the whole picture


def layout(root, yaml, *places):
    """A set of one small picture per place with a label of class 1; data.yaml unless None."""
    for place in places:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100, 80), "grey").save(root / place)
        label = root / f"/{place}".replace("/images/", "/labels/").rpartition(".")[0][1:]
        label.parent.mkdir(parents=True, exist_ok=True)
        label.with_name(f"{label.name}.txt").write_text("1 0.5 0.5 0.2 0.5\n")
    if yaml is not None:
        (root / "data.yaml").write_text(yaml)
    return root


ROBOFLOW = ("train/images/a.jpg", "valid/images/b.jpg", "test/images/c.jpg")
NESTED = ("images/train/x/a.jpg", "images/val/b.jpg")


@pytest.mark.parametrize(
    ("yaml", "places", "parts"),
    [
        ("train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 2\n" + NAMES,
         ROBOFLOW, {"a": "train", "b": "val", "c": "test"}),
        ("path: /home/me/sets/pills\ntrain: images/train\nval: images/val\ntest:\n" + NAMES,
         NESTED, {"a": "train", "b": "val"}),
        ("train: C:\\me\\pills\\images\\train\nval: images/val\nnames:\n  0: a\n  1: b\n",
         NESTED, {"a": "train", "b": "val"}),
        ("train: [images/train]\nval: lists/val.txt\n" + NAMES, NESTED, {"a": "train", "b": "val"}),
        ("train: images\nval: images/val\n" + NAMES, NESTED, {"a": "train", "b": "val"}),
        ("train: images/val\nval: images/val\n" + NAMES, NESTED, {"b": "train"}),
        (NAMES, ROBOFLOW, {"a": "train", "b": "val", "c": "test"}),
        (None, ("images/a.jpg", "b.jpg"), {"a": "", "b": ""}),
    ],
)  # fmt: skip
def test_layouts_of_ultralytics_roboflow_and_label_studio(tmp_path, yaml, places, parts):
    root = layout(tmp_path, yaml, *places)
    (root / "classes.txt").write_text("a\nb\n")
    (root / "lists").mkdir()
    (root / "lists/val.txt").write_text("./images/val/b.jpg\n")
    found = read(root, "yolo")
    assert {photo.image_path[-5]: photo.part for photo in found.photos} == parts
    assert {photo.pills for photo in found.photos} == {(("b", 40, 20, 20, 40),)}


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ("1 0.1 0.1 0.3 0.1 0.3 0.6 0.1 0.6", (10, 8, 20, 40)),  # a polygon: its box
        ("1.0 0.05 0.5 0.2 0.5", (0, 20, 15, 40)),  # beyond the border: cut
        ("1 0.5 0.5 0.2 0.5\n\n1 0.5 0.5 0.2 0.5", (40, 20, 20, 40)),  # twice
        ("7 0.5 0.5 0.2 0.5", "label_line_invalid"),
        ("1 50 40 20 40", "label_line_invalid"),
        ("1 0.5 0.5 0.2 nan", "label_line_invalid"),
        ("1 0.5 0.5 0.2 0.5 0.9", "label_line_invalid"),
        ("b 0.5 0.5 0.2 0.5", "label_line_invalid"),
        ("1 0.5 0.5 0 0.5", "box_without_area"),
        ("0 0.5 0.5 0.2 0.5\n1 0.5 0.5 0.2 0.5", "drugs_share_a_box"),
        ("  \n", "background_photo"),
    ],
)
def test_lines_of_a_label(tmp_path, line, outcome):
    root = layout(tmp_path, NAMES, "images/a.jpg", "images/b.jpg")
    (root / "labels/a.txt").write_text(line)
    (root / "labels/gone.txt").write_text(line)
    found = read(root, "yolo")
    assert found.findings.counts["label_without_photo"] == 1
    assert len(found.photos) == (1 if isinstance(outcome, str) else 2)
    if isinstance(outcome, str):
        assert found.left_out.counts == {outcome: 1}
    else:
        assert found.photos[0].pills == (("b", *outcome),)


def test_pictures_that_cannot_be_read_are_left_out_by_name(tmp_path):
    root = layout(tmp_path, NAMES, *(f"images/{name}.jpg" for name in "abc"))
    (root / "images/a.jpg").write_bytes(b"\0\0\0\x18ftypheic")
    (root / "images/b.jpg").write_bytes(b"no picture")
    found = read(root, "yolo")
    assert [len(found.photos), found.left_out.counts] == [1, {"photo_unusable": 2}]
    assert "HEIC" in found.left_out.examples["photo_unusable"][0]


def test_groups_are_those_of_the_table_else_of_roboflows_versions(tmp_path):
    hashed = ("rf." + "0123456789abcdef" * 2, "rf." + "fedcba9876543210" * 2)
    names = [f"train/images/x_jpg.{hashed[0]}", f"valid/images/x_jpg.{hashed[1]}",
             "train/images/p", "valid/images/q", "valid/images/r"]  # fmt: skip
    root = layout(tmp_path, NAMES, *(f"{name}.jpg" for name in names))
    (root / "groups.csv").write_text("image,group\np.jpg,desk\nvalid/images/q.jpg,desk\nz.jpg,y\n")
    found = read(root, "yolo")
    assert {photo.group for photo in found.photos} == {
        "photo:x_jpg", "desk", "photo:valid/images/r.jpg",
    }  # fmt: skip
    assert found.left_out.counts == {"group_in_two_parts": 2}  # as alike as photos of train
    assert found.findings.counts == {"group_of_no_photo": 1}
    (root / "groups.csv").write_text("a;b\n")
    with pytest.raises(DataError, match="lacks the columns image,group"):
        read(root, "yolo")


def change_coco(root, change):
    path = root / "annotations/instances_default.json"
    tree = orjson.loads(path.read_bytes())
    change(tree)
    path.write_bytes(orjson.dumps(tree))


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        (lambda tree: tree["annotations"][0].update(iscrowd=1), "crowd_box"),
        (lambda tree: tree["annotations"][0].update(bbox=[1, 2]), "box_not_four_numbers"),
        (lambda tree: tree["annotations"][0].update(bbox=[5, 5, -3, 9]), "box_without_area"),
        (lambda tree: tree["annotations"][0].update(bbox=[900, 5, 3, 9]), "box_outside_frame"),
        (lambda tree: tree["annotations"][0].update(category_id=77), "category_unknown"),
        (lambda tree: tree["images"][0].update(width=7), "size_differs_from_labels"),
        (lambda tree: tree["images"][0].update(width="7"), "frame_size_invalid"),
        (lambda tree: tree["annotations"][0].update(bbox=[], segmentation=[[1, 2, 9, 2, 9, 30]]),
         (1, 2, 8, 28)),
        (lambda tree: tree["images"][0].update(file_name="C:\\x\\images\\IMG 000.jpg"), None),
    ],
)  # fmt: skip
def test_coco_annotations_and_sizes(tmp_path, change, outcome):
    root = own_sets.coco(tmp_path, own_sets.photos(3))
    before = read(root, "coco")
    change_coco(root, change)
    found = read(root, "coco")
    if isinstance(outcome, str):
        assert (len(found.photos), found.left_out.counts) == (2, {outcome: 1})
    else:
        changed = before.photos[0].pills if outcome is None else ((DRUGS[0], *outcome),)
        assert found.photos[0].pills == changed


def test_coco_files_of_parts_as_roboflow_lays_them_out(tmp_path):
    drawn = own_sets.photos(3)
    for part, photo in zip(("train", "valid", "test"), drawn, strict=True):
        own_sets.coco(tmp_path / "one", [photo])
        (tmp_path / part).mkdir()
        for path in (tmp_path / "one/images").iterdir():
            shutil.move(path, tmp_path / part / "same.jpg")
        label = tmp_path / part / "_annotations.coco.json"
        shutil.move(tmp_path / "one/annotations/instances_default.json", label)
        tree = orjson.loads(label.read_bytes())
        tree["images"][0]["file_name"] = "same.jpg"
        label.write_bytes(orjson.dumps(tree))
        shutil.rmtree(tmp_path / "one")
    found = read(tmp_path, "coco")
    assert [photo.part for photo in found.photos] == ["test", "train", "val"]
    assert not found.findings.counts


@pytest.mark.parametrize(
    ("form", "files", "words"),
    [
        ("yolo", {}, "no data.yaml"),
        ("yolo", {"data.yaml": "names: 3\n"}, "not a list or map of drug names"),
        ("yolo", {"data.yaml": "names: [\n"}, "is not YAML"),
        ("yolo", {"a.yaml": NAMES, "b.yaml": NAMES}, "several descriptions"),
        ("coco", {"a.json": "{}"}, "no JSON file in COCO's form"),
        ("imagefolder", {}, "no folder of pictures per drug"),
    ],
)
def test_sets_without_the_form_are_refused_with_a_cure(tmp_path, form, files, words):
    Image.new("RGB", (100, 80)).save(tmp_path / "a.jpg")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=words) as refused:
        read(tmp_path, form)
    assert refused.value.cure


@pytest.mark.parametrize(
    "drug",
    ["K-001900", "K-12", "타이레놀 500mg", "a/b,c|d", "50%", " x ", "..", 'tab\t"', "Vit.", "K"],
)
def test_a_code_gives_the_name_back_and_only_a_k_code_looks_like_one(drug):
    code = code_of(drug)
    assert unquote(code) == drug and is_code(code) and code_of(unquote(code)) == code
    assert (code == drug) or not is_code(drug) or "%" in drug
    assert not is_code("K-12") and not is_code("") and not is_code("a/b")


@pytest.mark.parametrize("at", range(12))
def test_the_size_of_a_header_is_that_of_the_decoded_picture(tmp_path, at, monkeypatch):
    monkeypatch.setattr(pictures, "KEPT_PIXELS", 10_000)  # JPEGs are scaled down
    path = own_sets.save(DRAWN[at], tmp_path, at)
    read_ = pictures.read(path, 10**8)
    assert pictures.sizes(path, 10**8) == (read_.size, read_.pixels.shape[1::-1])
    assert read_.size == DRAWN[at].pixels.shape[1::-1]


def test_imagefolder_parts_and_strays(tmp_path):
    for place in ("train/a/1.jpg", "train/b/x/2.jpg", "Validation/a/3.jpg", "0.jpg", "other/4.jpg"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100, 80)).save(tmp_path / place)
    found = read(tmp_path, "imagefolder")
    parts = [(photo.pills[0].drug, photo.part) for photo in found.photos]
    assert sorted(parts) == [("a", "train"), ("a", "val"), ("b", "train")]
    assert found.findings.counts == {"photo_outside_a_drug_folder": 2}
    assert isinstance(found.left_out, Findings) and not found.left_out.counts
