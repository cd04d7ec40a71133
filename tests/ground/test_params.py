"""params.yaml: typed, and every refusal names the key."""

import copy
from pathlib import Path

import pytest

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


def test_contracted_defaults():
    loaded = params.load(ROOT / "params.yaml")
    assert loaded.scale == "demo"
    assert loaded.train.epochs == 18
    assert loaded.train.batch_size == 32
    assert loaded.train.detection_batch_size == 16
    assert loaded.scales["stage3"].lr == 3.0e-4
    assert loaded.targets.classification_top1 == 0.85
    assert loaded.targets.detection_map50 == 0.30
    assert loaded.targets.training_minutes == 120


@pytest.mark.parametrize(
    ("scale", "samples", "classes"),
    [
        ("stage1", 5000, 50),
        ("stage2", 25000, 250),
        ("stage3", 100000, 1000),
        ("stage4", 500000, 4023),
    ],
)
def test_scales_of_the_contract(scale, samples, classes):
    loaded = params.load(ROOT / "params.yaml").scales[scale]
    assert (loaded.samples, loaded.classes) == (samples, classes)


def test_stage3_val_share_gives_18525_of_100000():
    stage3 = params.load(ROOT / "params.yaml").scales["stage3"]
    assert round(stage3.samples * stage3.val_share) == 18525


def test_null_means_what_the_scale_says_and_a_value_overrides_it():
    assert params.parse(changed("train.lr", None), Path("p")).lr == TREE["scales"]["demo"]["lr"]
    assert params.parse(changed("train.lr", 1e-4), Path("p")).lr == 1e-4


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("train.batch_sise", 8, "train.batch_sise"),
        ("train.epochs", 0, "train.epochs"),
        ("train.mixed_precision", "half", "train.mixed_precision"),
        ("scales.demo.detector", "yolo9000", "scales.demo.detector"),
        ("train_detection.lr", 2.0, "train_detection.lr"),
        ("scales.demo.detection_px", 250, "scales.demo.detection_px"),
        ("scale", "stage9", "stage9"),
        ("train.devices", 3, r"train.detection_batch_size is 16: must be a multiple .* 3"),
        ("train.devices", 32, r"train.batch_size is 32: batch norm needs 64"),
    ],
)
def test_bad_values_are_refused_by_name(key, value, named):
    with pytest.raises(ParameterError, match=named):
        params.parse(changed(key, value), Path("params.yaml"))


def test_missing_key_is_refused_by_name():
    tree = copy.deepcopy(TREE)
    del tree["evaluate"]["match_iou"]
    with pytest.raises(ParameterError, match=r"evaluate\.match_iou"):
        params.parse(tree, Path("params.yaml"))


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="root of the repository"):
        params.load(tmp_path / "params.yaml")


def test_broken_yaml_is_refused(tmp_path):
    (tmp_path / "params.yaml").write_text("scale: [demo\nseed: 1\n")
    with pytest.raises(ParameterError, match=r"not YAML: .* in line 2"):
        params.load(tmp_path / "params.yaml")


def test_a_dotted_key_finds_its_value():
    assert params.at(TREE, "scales.demo.root") == "data/demo"
    assert params.at(TREE, "train.lr.x") is params.at(TREE, "no.such.key") is None


def test_stage3_without_a_root_says_what_to_set(monkeypatch):
    monkeypatch.delenv("PILLSNAP_DATA_ROOT", raising=False)
    with pytest.raises(ParameterError, match="export PILLSNAP_DATA_ROOT="):
        params.parse(changed("scale", "stage3"), Path("p")).data_root()


def test_empty_variable_counts_as_unset(monkeypatch):
    monkeypatch.setenv("PILLSNAP_DATA_ROOT", "  ")
    with pytest.raises(ParameterError, match="is not set"):
        params.parse(changed("scale", "stage3"), Path("p")).data_root()


def test_variable_wins_over_the_parameter(monkeypatch, tmp_path):
    monkeypatch.setenv("PILLSNAP_DATA_ROOT", str(tmp_path))
    assert params.parse(changed("data.root", "/nowhere"), Path("p")).data_root() == tmp_path


def test_root_that_is_no_folder_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("PILLSNAP_DATA_ROOT", str(tmp_path / "absent"))
    with pytest.raises(ParameterError, match="is not a folder"):
        params.parse(TREE, Path("p")).data_root()
