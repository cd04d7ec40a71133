import re
import shutil
import subprocess
from pathlib import Path

import pytest
import timm
import torch

from make import evaluated_project
from pillsnap import files
from pillsnap.dataset.crops import CropStore
from pillsnap.errors import MachineError, ParameterError
from pillsnap.places import Places
from pillsnap.prediction import gallery
from pillsnap.release import export
from pillsnap.release.bundle import Bundle
from pillsnap.training import checkpoints


@pytest.fixture
def project(tmp_path_factory) -> Places:
    return evaluated_project.made(tmp_path_factory.getbasetemp())


@pytest.fixture
def exported(tmp_path_factory) -> Bundle:
    return evaluated_project.exported(tmp_path_factory.getbasetemp())


def write(project: Places, out: Path, drugs: Path | None = None) -> None:
    export.export(project, out, 8, 10**6, drugs)


@pytest.fixture
def bundle(exported, tmp_path) -> Bundle:
    """A copy to damage."""
    shutil.copytree(exported.folder, tmp_path / "bundle")
    return Bundle(tmp_path / "bundle")


def test_a_bundle_holds_all_that_recognition_needs(exported) -> None:
    names = {path.relative_to(exported.folder).as_posix() for path in exported.folder.rglob("*")}
    assert names == {
        "SHA256SUMS", "bundle.json", "classes.csv",
        "classification.onnx", "classification.pt", "detection.onnx", "detection.pt",
        "model_card.md", "recogniser.json", "timm", "timm/config.json", "timm/model.safetensors",
    }  # fmt: skip


def test_what_is_copied_is_the_projects_own(project, exported) -> None:
    pairs = {
        exported.detection_pt: project.checkpoint("detection"),
        exported.classification_pt: project.checkpoint("classification"),
        exported.calibration: project.calibration,
        exported.classes: project.classes,
        exported.model_card: project.model_card,
    }
    for copy, source in pairs.items():
        assert copy.read_bytes() == source.read_bytes(), copy.name


def test_its_checksums_are_those_of_sha256sum(exported) -> None:
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=exported.folder, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert exported.verify() == []


def test_a_damaged_file_is_named(bundle) -> None:
    content = bytearray(bundle.detection_onnx.read_bytes())
    content[len(content) // 2] ^= 1
    bundle.detection_onnx.write_bytes(content)
    assert bundle.verify() == [
        f"{bundle.detection_onnx} is damaged: SHA256SUMS has another sha256."
    ]


def test_the_description_holds_the_differences_to_torch(project, exported) -> None:
    found = files.read_sealed_json(exported.folder / "bundle.json", "")
    named, boxed = found["parity"]["classification"], found["parity"]["detection"]
    assert named["crops"] == len(CropStore(project.crops("val")))
    assert named["same_top1"] == 1.0
    assert 0 <= named["largest_logit_difference"] < export.MOST_LOGIT_DIFFERENCE
    assert boxed["frames"] == 8
    assert 0 <= boxed["largest_box_difference_px"] < export.MOST_BOX_DIFFERENCE_PX
    assert (found["scale"], found["classes"], found["max_pixels"]) == ("demo", 4, 10**6)


def test_graphs_that_differ_from_torch_are_not_exported(project, bundle, monkeypatch) -> None:
    monkeypatch.setattr(export, "MOST_LOGIT_DIFFERENCE", -1.0)
    with pytest.raises(MachineError, match="differ from torch"):
        write(project, bundle.folder)
    assert bundle.verify() == []  # the older bundle is unchanged
    assert [path.name for path in bundle.folder.parent.iterdir()] == ["bundle"]


def test_a_second_export_takes_the_place_of_the_first_as_a_whole(project, bundle) -> None:
    (bundle.folder / "old.txt").write_text("of the first")
    write(project, bundle.folder)
    assert bundle.verify() == []
    assert not (bundle.folder / "old.txt").exists()
    assert [path.name for path in bundle.folder.parent.iterdir()] == ["bundle"]


def test_a_bundle_moved_aside_by_a_killed_export_comes_back(project, bundle, monkeypatch) -> None:
    bundle.folder.rename(bundle.folder.with_name(".bundle.replaced"))
    monkeypatch.setattr(export, "MOST_LOGIT_DIFFERENCE", -1.0)
    with pytest.raises(MachineError):
        write(project, bundle.folder)
    assert bundle.verify() == []


def test_equal_models_make_equal_bundles(project, exported, bundle) -> None:
    write(project, bundle.folder)
    assert (bundle.folder / "SHA256SUMS").read_text() == (
        exported.folder / "SHA256SUMS"
    ).read_text()


def test_a_folder_of_something_else_is_never_replaced(project, tmp_path) -> None:
    (tmp_path / "thesis.txt").write_text("three years")
    with pytest.raises(ParameterError, match=re.escape(f"--out {tmp_path} holds other files")):
        write(project, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "three years"


def test_a_file_is_no_folder_for_a_bundle(project, tmp_path) -> None:
    (tmp_path / "bundle").write_text("a file")
    with pytest.raises(ParameterError, match="is a file"):
        write(project, tmp_path / "bundle")


def test_two_exports_do_not_fill_the_same_folder(project, tmp_path) -> None:
    with files.alone(tmp_path), pytest.raises(MachineError, match=f"writing into {tmp_path}"):
        write(project, tmp_path / "bundle")


def test_timm_loads_the_classifier_bit_for_bit(project, exported) -> None:
    model = timm.create_model(f"local-dir:{exported.timm_dir}", pretrained=True)
    weights, _ = checkpoints.load_published(project.checkpoint("classification"))
    loaded = model.state_dict()
    assert loaded.keys() == weights.keys()
    for name, tensor in weights.items():
        assert torch.equal(loaded[name], tensor), name


def test_enrolled_drugs_travel_with_the_bundle(project, tmp_path) -> None:
    drugs = tmp_path / "gallery.json"
    own_sha256 = files.sha256_of(project.checkpoint("classification"))
    gallery.save(drugs, gallery.Gallery(own_sha256, 3, ()))
    write(project, tmp_path / "bundle", drugs)
    assert Bundle(tmp_path / "bundle").gallery.read_bytes() == drugs.read_bytes()
