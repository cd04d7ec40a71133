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
        "licences.txt", "model_card.md", "recogniser.json", "sbom.cdx.json",
        "timm", "timm/config.json", "timm/model.safetensors",
    }  # fmt: skip


def test_what_is_copied_is_the_projects_own_and_sha256sum_agrees(project, exported) -> None:
    pairs = {
        exported.detection_pt: project.checkpoint("detection"),
        exported.classification_pt: project.checkpoint("classification"),
        exported.calibration: project.calibration,
        exported.classes: project.classes,
        exported.model_card: project.model_card,
    }
    for copy, source in pairs.items():
        assert copy.read_bytes() == source.read_bytes(), copy.name
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(command, cwd=exported.folder, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert exported.verify() == []


def test_the_description_holds_the_differences_to_torch(project, exported) -> None:
    found = files.read_sealed_json(exported.folder / "bundle.json", "")
    named, boxed = found["parity"]["classification"], found["parity"]["detection"]
    assert named["crops"] == len(CropStore(project.crops("val")))
    assert named["same_top1"] == 1.0
    assert 0 <= named["largest_logit_difference"] < export.MOST_LOGIT_DIFFERENCE
    assert boxed["frames"] == 8
    assert 0 <= boxed["largest_box_difference_px"] < export.MOST_BOX_DIFFERENCE_PX
    assert (found["scale"], found["classes"], found["max_pixels"]) == ("demo", 4, 10**6)


def test_graphs_that_differ_from_torch_are_not_exported_and_an_older_bundle_stays(
    project, bundle, monkeypatch
) -> None:
    monkeypatch.setattr(export, "MOST_LOGIT_DIFFERENCE", -1.0)
    bundle.folder.rename(bundle.folder.with_name(".bundle.replaced"))  # as a killed export does
    with pytest.raises(MachineError, match="differ from torch"):
        write(project, bundle.folder)
    assert bundle.verify() == []
    assert [path.name for path in bundle.folder.parent.iterdir()] == ["bundle"]


def test_a_second_export_replaces_the_first_whole_by_an_equal_one(
    project, exported, bundle
) -> None:
    (bundle.folder / "old.txt").write_text("of the first")
    write(project, bundle.folder)
    assert bundle.verify() == []
    assert not (bundle.folder / "old.txt").exists()
    assert [path.name for path in bundle.folder.parent.iterdir()] == ["bundle"]
    sums = [(folder / "SHA256SUMS").read_text() for folder in (bundle.folder, exported.folder)]
    assert sums[0] == sums[1]


def test_a_file_or_a_folder_of_something_else_is_never_replaced(project, tmp_path) -> None:
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("three years")
    for out, words in ((tmp_path, f"--out {tmp_path} holds other files"), (thesis, "is a file")):
        with pytest.raises(ParameterError, match=re.escape(words)):
            write(project, out)
    assert thesis.read_text() == "three years"


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
