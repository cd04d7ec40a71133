"""From sets in other forms to manifests, and the scale that init-scale writes for them."""

import random
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from make import own_sets
from make.aihub_tree import write_tree
from make.import_graph import ROOT
from make.orders import COMMITTED, at_scale
from make.photo_set import RecordedLog
from pillsnap import params
from pillsnap.dataset import manifest
from pillsnap.dataset.names import code_of
from pillsnap.errors import DataError, ParameterError
from pillsnap.formats import fingerprint
from pillsnap.formats.photo_set import BoxedPhoto, BoxedPill
from pillsnap.manifest import build, fitting, own_photos, tables
from pillsnap.operation import init_scale
from pillsnap.params import Params, ScaleParams
from pillsnap.validation.validate import ValidationPaths, validate

DRAWN = own_sets.photos(60)
LOOSE = COMMITTED.scales["demo"].model_copy(
    update={"min_train_per_class": 2, "min_val_per_class": 1, "val_share": 0.2}
)  # fmt: skip


def silent(done: int, total: int) -> None:
    pass


def order(form: str = "yolo", wanted: ScaleParams = LOOSE, **options: int) -> Params:
    return at_scale("phone", wanted, form, **options)


def rows_of(root: Path, out: Path, form: str = "yolo") -> dict[str, pd.DataFrame]:
    """The manifests of a set whose scale fits it."""
    fitted = order(form, fitting.fit(root, order(form), silent).wanted)
    chosen = build.build(root, fitted, fingerprint.take(root, form), silent)
    tables.write(chosen, out)
    return {split: manifest.read(out / f"manifest_{split}.csv") for split in manifest.SPLITS}


@pytest.mark.parametrize("form", ["yolo", "coco", "imagefolder"])
def test_every_pill_is_a_row_and_the_split_is_by_photo(tmp_path, form):
    root = getattr(own_sets, form)(tmp_path / "set", DRAWN)
    rows = rows_of(root, tmp_path / "a", form)
    together = pd.concat(rows.values())
    pills = sum(
        len(photo.pills) for photo in DRAWN if form != "imagefolder" or len(photo.pills) == 1
    )
    assert len(together) == pills and not len(rows["test"])
    assert set(rows["train"]["mapping_code"]) == set(rows["val"]["mapping_code"])
    assert not set(rows["train"]["group_id"]) & set(rows["val"]["group_id"])
    assert together["known"].all() and (together[["light", "back", "latitude"]] == -1).all(
        axis=None
    )
    counts = together.groupby("image_path")["box_x"].transform("size")
    assert ((counts > 1) == (together["image_type"] == "combination")).all()
    if form != "imagefolder":
        assert set(together["mapping_code"]) == set(map(code_of, own_sets.DRUGS))
        assert set(together["drug_name"]) == set(own_sets.DRUGS)
    for path in [*together["image_path"], *together["label_path"]]:
        assert (root / path).is_file()
    rows_of(root, tmp_path / "b", form)
    for path in sorted((tmp_path / "a").glob("*.csv")):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize("seed", range(12))
def test_whole_groups_are_held_out_evenly_and_the_result_gives_itself_again(seed):
    rng = random.Random(seed)
    photos = []
    for number in range(rng.randint(40, 120)):
        pills = tuple(
            BoxedPill(f"d{min(int(rng.expovariate(0.4)), 5)}", at * 10, 5, 8, 8)
            for at in range(rng.choice([1, 1, 2, 4]))
        )
        group = f"g{rng.randint(0, 20)}" if seed % 2 else f"photo:{number}"
        sizes = ((100, 100), (100, 100), 5)
        photos.append(BoxedPhoto(f"{number:03}.jpg", f"{number:03}.txt", "", group, *sizes, pills))
    own = own_photos.collect(photos)
    settled = own_photos.settled(own, LOOSE.model_copy(update={"classes": 6}), 17)
    choice = own_photos.choose(own, settled, 17)
    found = own_photos.measured(own, choice)
    assert all(getattr(settled, key) == pytest.approx(found[key], abs=0.005) for key in found)
    sides = [set(own.candidates.group[choice.split == side].tolist()) for side in (0, 1)]
    assert not sides[0] & sides[1]
    assert 0.1 < found["val_share"] < (0.4 if seed % 2 else 0.25)


def test_given_parts_are_kept(tmp_path):
    parts = ("train", "train", "val", "test")
    root = own_sets.yolo(tmp_path / "set", DRAWN, lambda at: parts[at // 7 % 4])
    rows = rows_of(root, tmp_path / "a")
    for split, table in rows.items():
        assert len(table) and set(table["part"]) == {split}
        assert table["image_path"].str.startswith(f"images/{split}/").all()


def test_a_rare_drug_is_boxed_but_no_class_and_one_drug_is_refused(tmp_path):
    rare = [replace(photo, pills=tuple((0, box) for _, box in photo.pills)) for photo in DRAWN]
    two = [replace(photo, pills=tuple((1, box) for _, box in photo.pills)) for photo in rare[:20]]
    root = own_sets.yolo(tmp_path / "set", [*two, *rare[20:58], replace(DRAWN[2], name="z")])
    found = fitting.fit(root, order(), silent)
    assert found.codes_left_out and found.wanted.classes == 2
    rows = pd.concat(rows_of(root, tmp_path / "a").values())
    assert set(rows.loc[~rows["known"], "mapping_code"]) == set(found.codes_left_out)
    with pytest.raises(DataError, match="the classifier needs two"):
        fitting.fit(own_sets.yolo(tmp_path / "one", rare), order(), silent)


def test_other_numbers_are_refused_with_those_that_pass(tmp_path):
    root = own_sets.yolo(tmp_path / "set", DRAWN)
    recorded = fingerprint.take(root, "yolo")
    with pytest.raises(DataError, match=r"scales\.phone is not theirs: samples is 1500") as refused:
        build.build(root, order(), recorded, silent)
    with pytest.raises(ParameterError, match="for AI Hub's form only"):
        build.build(root, order(left_out_classes=1), recorded, silent)
    settings = [word for word in refused.value.cure.split() if word.startswith("scales.phone.")]
    values = dict(word.removeprefix("scales.phone.").split("=") for word in settings)
    changes = {key: type(getattr(LOOSE, key))(value) for key, value in values.items()}
    build.build(root, order(wanted=LOOSE.model_copy(update=changes)), recorded, silent)


def test_a_corrected_label_of_the_same_length_is_another_version(tmp_path):
    root = own_sets.yolo(tmp_path / "set", DRAWN[:3])
    before = fingerprint.take(root, "yolo")
    label = root / "labels/IMG 000.txt"
    label.write_text(label.read_text().replace("0.", "0.", 1)[:-2] + "9\n")
    assert fingerprint.take(root, "yolo") != before
    (root / "labels.cache").write_bytes(b"of ultralytics")
    assert fingerprint.take(root, "yolo").count == before.count


def written(tmp_path: Path, form: str, root: Path) -> Path:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    text = text.replace("format: aihub", f"format: {form}")
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("  root:  ", f"  root: {root}  ", 1), encoding="utf-8")
    return path


@pytest.mark.parametrize("form", ["yolo", "imagefolder"])
def test_init_scale_adds_lines_that_load_and_changes_no_other(tmp_path, form, monkeypatch):
    monkeypatch.delenv("PILLSNAP_DATA_ROOT", raising=False)
    root = getattr(own_sets, form)(tmp_path / "set", DRAWN)
    path = written(tmp_path, form, root)
    before = path.read_text(encoding="utf-8").splitlines()
    printed = init_scale.init("phone", path, silent)
    after = path.read_text(encoding="utf-8").splitlines()
    start = after.index("  phone:")
    added = after[start : start + 1 + len(params.ScaleParams.model_fields)]
    assert [*after[:start], *after[start + len(added) :]] == before
    command = "Next: pillsnap train --scale phone --epochs 60 --detection-batch-size 4"
    assert printed.endswith(command)
    assert "\n".join(added) in printed
    tree = params.read(path)
    scale = params.parse({**tree, "scale": "phone"}, path)
    fitted = order(form, scale.at_scale)
    recorded = fingerprint.read(tmp_path / "data/fingerprints/phone.json")
    build.build(root, fitted, recorded, silent)
    yaml = YAML()
    again = tmp_path / "again.yaml"
    yaml.dump(yaml.load(path), again)
    by_dvc = again.read_text(encoding="utf-8")  # may fold the path of a temporary folder
    assert "\n".join(added[2:]) in by_dvc
    with pytest.raises(ParameterError, match="phone exists already"):
        init_scale.init("phone", path, silent)
    with pytest.raises(ParameterError, match="no name of a folder"):
        init_scale.init("a b", path, silent)
    root.rename(tmp_path / "data/tray")
    monkeypatch.setenv("PILLSNAP_DATA_ROOT", str(tmp_path / "data/tray"))
    with pytest.raises(ParameterError, match="writes its pictures to data/tray"):
        init_scale.init("tray", path, silent)


def test_init_scale_fits_a_part_of_aihubs_data(tmp_path):
    codes = [f"K-{number:06d}" for number in range(1, 7)]
    root = tmp_path / "tree"
    write_tree(root, codes, combos=[tuple(codes[:3]), tuple(codes[2:5])])
    fit = fitting.fit(root, order("aihub"), silent)
    assert fit.wanted.classes >= 2 and fit.wanted.samples > 20 and fit.train_singles
    fitted = order("aihub", fit.wanted)
    build.build(root, fitted, fingerprint.take(root), silent)
    assert (fit.boxes[:, 2:4] > 0).all()


@pytest.mark.parametrize(
    ("form", "chosen"),
    [
        ("yolo", lambda pills: len(pills) > 1),
        ("coco", lambda pills: len(pills) == 1),
        ("imagefolder", lambda pills: True),
    ],
)
def test_validate_reads_every_photo_of_a_set(tmp_path, form, chosen):
    names = {} if form == "imagefolder" else {"names": ("a 1", "b", "c", "d", "e", "f")}
    drawn = [photo for photo in own_sets.photos(90) if chosen(photo.pills)]
    root = getattr(own_sets, form)(tmp_path / "set", drawn, **names)
    fit = fitting.fit(root, order(form), silent)
    wanted = fit.wanted.model_copy(update=fit.least)
    fitted = order(form, wanted)
    tables.write(build.build(root, fitted, fingerprint.take(root, form), silent), tmp_path / "a")
    places = ValidationPaths(root, *(tmp_path / name for name in ("a", "data", "work")))
    counts = validate(places, fitted, RecordedLog())
    assert counts["rejected"] == 0 and counts["crops"] == wanted.samples
    assert counts["detection_frames"] > 10 and counts["evaluation_frames"] > 2
