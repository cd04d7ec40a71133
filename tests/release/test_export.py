import shutil
import subprocess

import numpy as np
import pytest
import torch

from make.evaluated_project import EVERY_BOX
from pillsnap import files
from pillsnap.dataset.crops import CropStore
from pillsnap.dataset.frames import FrameStore
from pillsnap.detection import detector
from pillsnap.errors import MachineError
from pillsnap.release import export
from pillsnap.release.bundle import Bundle


@pytest.fixture
def bundle(exported, tmp_path) -> Bundle:
    """A copy to damage."""
    shutil.copytree(exported.folder, tmp_path / "bundle")
    return Bundle(tmp_path / "bundle")


def test_a_bundle_holds_all_that_recognition_needs_and_sha256sum_agrees(
    evaluated, exported
) -> None:
    names = {path.relative_to(exported.folder).as_posix() for path in exported.folder.rglob("*")}
    assert names == {
        "SHA256SUMS", "bundle.json", "classes.csv",
        "classification.onnx", "classification.pt", "detection.onnx", "detection.pt",
        "licences.txt", "model_card.md", "recogniser.json", "sbom.cdx.json",
        "timm", "timm/README.md", "timm/config.json", "timm/model.safetensors",
        "ultralytics", "ultralytics/pill.onnx", "ultralytics/pill.pt",
    }  # fmt: skip
    pairs = {
        exported.detection_pt: evaluated.checkpoint("detection"),
        exported.classification_pt: evaluated.checkpoint("classification"),
        exported.calibration: evaluated.calibration,
        exported.classes: evaluated.classes,
        exported.model_card: evaluated.model_card,
    }
    for copy, source in pairs.items():
        assert copy.read_bytes() == source.read_bytes(), copy.name
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(command, cwd=exported.folder, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert exported.verify() == []
    found = files.read_sealed_json(exported.folder / "bundle.json", "")
    named, boxed = found["parity"]["classification"], found["parity"]["detection"]
    assert named["crops"] == len(CropStore(evaluated.crops("val")))
    assert named["same_top1"] == 1.0
    assert 0 <= named["largest_logit_difference"] < export.MOST_LOGIT_DIFFERENCE
    assert boxed["frames"] == 8
    assert 0 <= boxed["largest_box_difference_px"] < export.MOST_BOX_DIFFERENCE_PX
    assert (found["scale"], found["classes"], found["max_pixels"]) == ("demo", 4, 10**6)


@pytest.mark.parametrize("name", ["pill.pt", "pill.onnx"])
def test_ultralytics_predicts_the_same_boxes(evaluated, exported, name) -> None:
    ours = detector.load(exported.detection_pt, torch.device("cpu"))
    from ultralytics import YOLO  # after its switches are set

    frame = FrameStore(evaluated.frames("val")).decode(0)
    [(boxes, scores)] = ours.detect([frame], EVERY_BOX, 0.6)
    side = ours.config["image_px"]
    model = YOLO(exported.folder / "ultralytics" / name, task="detect")
    options = {"imgsz": side, "conf": EVERY_BOX, "iou": 0.6, "device": "cpu", "verbose": False}
    [found] = model.predict(frame[..., ::-1].copy(), **options, rect=name.endswith(".pt"))
    assert found.names == {0: "pill"} and len(found.boxes)
    best = np.argmin(np.abs(found.boxes.xyxy.numpy() - boxes[0]).max(axis=1))
    assert found.boxes.xyxy.numpy()[best] == pytest.approx(boxes[0], abs=1.0)
    assert float(found.boxes.conf[best]) == pytest.approx(float(scores[0]), abs=1e-3)


def test_graphs_that_differ_from_torch_are_not_exported_and_an_older_bundle_stays(
    evaluated, bundle, monkeypatch
) -> None:
    monkeypatch.setattr(export, "MOST_LOGIT_DIFFERENCE", -1.0)
    bundle.folder.rename(bundle.folder.with_name(".bundle.replaced"))  # as a killed export does
    with pytest.raises(MachineError, match="differ from torch"):
        export.export(evaluated, bundle.folder, 8, 10**6, None)
    assert bundle.verify() == []
    assert [path.name for path in bundle.folder.parent.iterdir()] == ["bundle"]


def test_a_second_export_replaces_the_first_whole_by_an_equal_one(
    evaluated, exported, bundle
) -> None:
    (bundle.folder / "old.txt").write_text("of the first")
    export.export(evaluated, bundle.folder, 8, 10**6, None)
    assert bundle.verify() == []
    assert not (bundle.folder / "old.txt").exists()
    assert [path.name for path in bundle.folder.parent.iterdir()] == ["bundle"]
    with files.alone(bundle.folder.parent), pytest.raises(MachineError, match="writing into"):
        export.export(evaluated, bundle.folder, 8, 10**6, None)
    sums = [(folder / "SHA256SUMS").read_text() for folder in (bundle.folder, exported.folder)]
    assert sums[0] == sums[1]
