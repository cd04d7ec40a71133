import copy
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import load_yaml, modify_yaml
from hypothesis import given, settings

from make.damage import SEEDS, damaged_text
from make.import_graph import ROOT
from pillsnap import params
from pillsnap.errors import ParameterError

TREE = params.read(ROOT / "params.yaml")


def changed(key, value):
    tree = copy.deepcopy(TREE)
    node = tree
    *path, last = key.split(".")
    for part in path:
        node = node[part]
    node[last] = value
    return tree


CONTRACT = {
    "scale": "demo", "train.epochs": 18, "train.batch_size": 32, "train.detection_batch_size": 16,
    "targets.classification_top1": 0.85, "targets.detection_map50": 0.30,
    "targets.training_minutes": 120, "scales.stage3.lr": 3e-4, "scales.stage3.val_share": 0.18525,
    "scales.stage1.samples": 5000, "scales.stage1.classes": 50,
    "scales.stage2.samples": 25_000, "scales.stage2.classes": 250,
    "scales.stage3.samples": 100_000, "scales.stage3.classes": 1000,
    "scales.stage4.samples": 500_000, "scales.stage4.classes": 4023,
}  # fmt: skip


def test_contracted_defaults_and_none_where_there_is_no_key():
    tree = params.load(ROOT / "params.yaml").model_dump(by_alias=True)
    assert {key: params.at(tree, key) for key in CONTRACT} == CONTRACT
    keys = ("train.epochs", "train.none", "train.lr.x", "train.epochs.x", "no.such.key", "")
    assert [params.at(TREE, key) for key in keys] == [18, *[None] * 5]


def test_null_means_what_the_scale_says_and_a_value_overrides_it():
    assert params.parse(changed("train.lr", None), Path("p")).lr == TREE["scales"]["demo"]["lr"]
    assert params.parse(changed("train.lr", 1e-4), Path("p")).lr == 1e-4


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("train.batch_sise", 8, "train.batch_sise is no key; did you mean train.batch_size?"),
        ("train.label_smoothing", 0.1, "did you mean train_classification.label_smoothing?"),
        ("train.xyzzy", 1, "train.xyzzy is no key"),
        ("train.epochs", 0, "train.epochs is 0: must be greater than 0\n    # epochs of each"),
        ("train.epochs", True, "train.epochs is true: must be a whole number"),
        ("train.epochs", 2.0, "train.epochs is 2.0: must be a whole number"),
        ("train.lr", "high", "train.lr is 'high': must be a number"),
        ("train.lr", float("inf"), "train.lr is inf: must be a finite number"),
        ("train.batch_size", 0, "train.batch_size is 0: must be greater than 0 or auto"),
        ("train.compile", None, "train.compile is null: must be auto, on or off"),
        ("train.mixed_precision", "half", "'half': must be auto, bf16, fp16 or off\n    # auto: "),
        ("demo.classes", 4, "demo.classes is 4: must be at least 5"),
        ("demo.photos_per_group", 73, "demo.photos_per_group is 73: must be at most 72"),
        ("train.device", "gpu", "must be as its comment says\n    # auto | cpu | cuda | cuda:1"),
        ("scales.stage3.detector", "yolo9000", "says\n    # yolo11{n,s,m,l,x} or yolo26"),
        ("train_detection.lr", 2.0, "train_detection.lr is 2.0: must be at most 1"),
        ("scales.demo.detection_px", 250, "scales.demo.detection_px is 250: must be a multiple"),
        ("train", 7, "train is 7: must be keys and values"),
        ("scales", {1: 2}, "scales.1 is 2: must be keys and values"),
        ("scale", "stage9", "scale is 'stage9', known scales are demo, stage1"),
        ("seed", -1, "seed is -1: must be at least 0"),
        ("seed", 2**32 - 1, "seed is 4294967295: must be at most 4_294_967_294"),
        ("seed", 20261126093000, "must be at most 4_294_967_294"),
        ("train.devices", 3, "train.detection_batch_size is 16: must be a multiple"),
        ("train.devices", 32, "train.batch_size is 32: batch norm needs 64"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_with_key_value_and_comment(key, value, words):
    with pytest.raises(ParameterError) as refused:
        params.parse(changed(key, value), ROOT / "params.yaml")
    assert words in refused.value.fact
    assert "Input should" not in refused.value.fact


def test_every_wrong_key_is_in_one_refusal():
    tree = changed("evaluate.batch_size", "all")
    tree["train"]["epoch"] = tree["train"].pop("epochs")
    del tree["targets"]["training_minutes"]
    with pytest.raises(ParameterError) as refused:
        params.parse(tree, Path("elsewhere.yaml"))  # and without comments to show
    assert refused.value.fact.splitlines()[1:] == [
        "  train.epoch is no key; did you mean train.epochs?",
        "  targets.training_minutes is missing",
        "  evaluate.batch_size is 'all': must be a whole number",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("scale: [demo\n", "not YAML: line 2: expected"),
        ("seed: 1\nseed: 2\n", 'line 2: found duplicate key "seed" with value "2"'),
        ("train: {lr: 1, lr: 2}\n", 'found duplicate key "lr"'),
        ("<<<<<<< HEAD\nseed: 1\n", "conflict markers"),
        ("", "holds nothing instead of keys"),
        ("seed: 1".encode("utf-16"), "can't decode byte 0xff in position 0"),
        ("a: 1\nb: &b [1]\nc: *b\n", "line 2: an anchor with aliases, which are not read"),
        ("#" * (1 << 16) + "\n", "is 65,537 bytes long"),
        ("a: " + "[" * 40 + "]" * 40, "maximum depth of data structure exceeded"),
    ],
)
def test_a_missing_file_and_one_that_is_not_safe_are_refused(tmp_path, text, words):
    with pytest.raises(ParameterError, match="root of the repository"):
        params.load(tmp_path / "params.yaml")
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(ParameterError) as refused:
        params.load(tmp_path / "params.yaml")
    assert words in refused.value.fact


@settings(max_examples=60, deadline=10_000)
@given(SEEDS)
def test_any_damaged_file_is_read_or_refused(tmp_path_factory, chance):
    path = tmp_path_factory.getbasetemp() / "damaged.yaml"
    path.write_bytes(damaged_text((ROOT / "params.yaml").read_bytes(), chance))
    with suppress(ParameterError):
        params.load(path)


SCALARS = [
    *("off", "on", "yes", "no", "y", "n", "true", "False", "null", "~", "'off'", '"1"'),
    *("1e-3", "1E3", "3e-05", ".5", "1.", "+7", "-0", ".inf", "-.INF", ".nan", "1_000", "1_0.5"),
    *("0o17", "017", "0x10", "0b11", "12:30", "1:30:00", "2024-01-01"),
]


@pytest.mark.parametrize("text", SCALARS)
def test_a_value_means_what_it_means_to_dvc(tmp_path, text):
    (tmp_path / "params.yaml").write_text(f"a: {text}\nb: [{text}]\n")
    ours, theirs = params.read(tmp_path / "params.yaml"), load_yaml(tmp_path / "params.yaml")
    assert repr(ours) == repr(theirs)


def literals(model, above=""):
    """Dotted key and values of every parameter that has a list of legal values."""
    for name, field in model.model_fields.items():
        key = f"{above}{field.alias or name}"
        for part in (field.annotation, *get_args(field.annotation)):
            if get_origin(part) is Literal:
                yield from ((key, value) for value in get_args(part))
            elif isinstance(part, type) and issubclass(part, params.Section):
                yield from literals(part, f"{key}.demo." if key == "scales" else f"{key}.")


@pytest.mark.parametrize(("key", "value"), list(literals(params.Params)))
def test_every_listed_value_survives_dvc(tmp_path, key, value):
    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", path)
    apply_overrides(path, [f"{key}={value}"])  # what -S does
    assert params.at(params.load(path).model_dump(by_alias=True), key) == value
    with modify_yaml(path) as tree:  # what DVC does when it changes another key
        tree["seed"] = 18
    assert params.at(params.load(path).model_dump(by_alias=True), key) == value


def test_params_yaml_has_the_form_that_dvc_writes(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    with modify_yaml(tmp_path / "params.yaml"):
        pass
    assert (tmp_path / "params.yaml").read_bytes() == (ROOT / "params.yaml").read_bytes()


@pytest.mark.slow
def test_the_bounds_of_the_detectors_recipe_are_those_of_ultralytics():
    from pillsnap.detection import settings  # sets Ultralytics' switches before it is imported

    assert settings
    from ultralytics.cfg import check_cfg

    names = {"lr": "lr0", "hue": "hsv_h", "saturation": "hsv_s", "value": "hsv_v"}
    for key in TREE["train_detection"]:
        for bound in (0.0, 1e-9, 1.0, 180.0, 1e9):
            try:
                params.parse(changed(f"train_detection.{key}", bound), Path("p"))
            except ParameterError:
                continue
            check_cfg({names.get(key, key): bound})


@pytest.mark.parametrize("variable", ["", "  "])
def test_stage3_without_a_root_says_what_to_set(monkeypatch, variable):
    monkeypatch.setenv("PILLSNAP_DATA_ROOT", variable)
    with pytest.raises(ParameterError, match="is not set") as refused:
        params.parse(changed("scale", "stage3"), Path("p")).data_root()
    assert "export PILLSNAP_DATA_ROOT=" in refused.value.cure


def test_variable_wins_over_the_parameter(monkeypatch, tmp_path):
    monkeypatch.setenv("PILLSNAP_DATA_ROOT", str(tmp_path))
    elsewhere = params.parse(changed("data.root", "/nowhere"), Path("p"))
    assert elsewhere.data_root() == tmp_path
    monkeypatch.delenv("PILLSNAP_DATA_ROOT")
    with pytest.raises(ParameterError, match="is not a folder"):
        elsewhere.data_root()


@pytest.mark.parametrize("left", [(), ("crops", "detection", "frames")])
def test_a_demo_without_photos_says_how_to_draw_them(monkeypatch, tmp_path, left):
    """DVC makes the folders of a stage's outs before the stage starts, and pulls outs only."""
    monkeypatch.chdir(tmp_path)
    for name in ("", *left):
        (tmp_path / "data/demo" / name).mkdir(parents=True, exist_ok=True)
    with pytest.raises(ParameterError) as refused:
        params.parse(TREE, Path("p")).data_root()
    assert refused.value.cure == "python3 run.py demo"


@pytest.mark.parametrize("root", ["~", "~/photos", "~no_such_user_here/photos"])
def test_a_home_folder_that_is_not_known_is_refused(monkeypatch, root):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # KeyError: no such user
    monkeypatch.setenv("PILLSNAP_DATA_ROOT", root)
    with pytest.raises(ParameterError, match=f"{root}: the home folder of ~"):
        params.parse(TREE, Path("p")).data_root()


@pytest.mark.parametrize("copy", ["tmpab", "standalone/tmpab", "celery/tmpab"])
def test_a_relative_root_is_the_repositorys_in_a_copy_of_dvcs(monkeypatch, tmp_path, copy):
    here = tmp_path / ".dvc/tmp/exps" / copy
    (here / "data/demo").mkdir(parents=True)  # as DVC does for the outs in it
    (tmp_path / "data/demo/train").mkdir(parents=True)
    monkeypatch.chdir(here)
    loaded = params.parse(TREE, Path("p"))
    assert loaded.data_root() == tmp_path / "data/demo"
    monkeypatch.setenv("PILLSNAP_DATA_ROOT", str(tmp_path))
    assert loaded.data_root() == tmp_path
