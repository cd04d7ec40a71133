import json

import numpy as np
import onnx
import pytest
import timm
import torch
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.nms import non_max_suppression

from make import crop_files
from pillsnap.classification.classifier import TorchClassifier
from pillsnap.dataset.crops import CropStore
from pillsnap.detection.detector import TorchDetector
from pillsnap.errors import CheckpointError
from pillsnap.release import graphs
from pillsnap.release.onnx_models import METADATA_KEY, OnnxClassifier, OnnxDetector, suppress

CPU = torch.device("cpu")
CONFIG = {
    "kind": "classification", "architecture": "test_resnet", "classes": 4, "image_px": 32,
    "crop_px": 32, "crop_margin": 0.1, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4],
}  # fmt: skip


@pytest.fixture(scope="module")
def classifier() -> TorchClassifier:
    torch.manual_seed(0)
    return TorchClassifier(timm.create_model("test_resnet", num_classes=4), CONFIG, CPU)


@pytest.fixture(scope="module")
def detector() -> TorchDetector:
    torch.manual_seed(0)
    model = DetectionModel("yolo11n.yaml", nc=1, verbose=False)
    config = {"kind": "detection", "architecture": "yolo11n", "image_px": 96}
    return TorchDetector(model, config, CPU)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, classifier, detector):
    folder = tmp_path_factory.mktemp("onnx")
    graphs.write_classification(classifier, folder / "c.onnx", {"class_table": ["가", "나"]})
    graphs.write_detection(detector, folder / "d.onnx", {})
    return folder


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)


@pytest.mark.parametrize("count", [1, 5])
def test_the_classifiers_graph_agrees_with_torch_at_any_batch_size(
    folder, classifier, count: int
) -> None:
    crops = noise(count, 40, 40, 3)
    logits, embeddings = classifier.classify(crops)
    other, other_embeddings = OnnxClassifier(folder / "c.onnx", 1).classify(crops)
    assert other == pytest.approx(logits, abs=1e-4)
    assert other_embeddings == pytest.approx(embeddings, abs=1e-5)


def test_the_detectors_graph_agrees_with_torch_for_frames_of_any_size(folder, detector) -> None:
    frames = [noise(120, 90, 3), noise(60, 160, 3), noise(120, 90, 3)[::-1]]
    expected = detector.detect(frames, 0.0, 0.6)
    found = OnnxDetector(folder / "d.onnx", 1).detect(frames, 0.0, 0.6)
    for (box, score), (other, other_score) in zip(expected, found, strict=True):
        assert len(box) > 3
        assert other == pytest.approx(box, abs=0.05)
        assert other_score == pytest.approx(score, abs=1e-4)
    again = detector.detect(frames, 0.0, 0.6)  # other sizes leave no trace
    assert all(np.array_equal(one[0], two[0]) for one, two in zip(expected, again, strict=True))


def test_suppression_is_ultralytics_own() -> None:
    rng = np.random.default_rng(0)
    predicted = np.concatenate(
        [rng.uniform(20, 80, (2, 300)), rng.uniform(10, 40, (2, 300)), rng.random((1, 300))]
    ).astype(np.float32)
    expected = non_max_suppression(torch.from_numpy(predicted[None].copy()), 0.3, 0.5, max_det=20,
                                   nc=1)[0].numpy()  # fmt: skip
    box, score = suppress(predicted, 0.3, 0.5, 20)
    assert box == pytest.approx(expected[:, :4], abs=1e-4)
    assert score == pytest.approx(expected[:, 4])
    box, score = suppress(np.zeros((5, 10), np.float32), 0.25, 0.5, 100)
    assert (box.shape, score.shape) == ((0, 4), (0,))


def test_class_table_and_configuration_are_in_the_graph_and_equal_models_give_equal_files(
    folder, classifier, tmp_path
) -> None:
    config = OnnxClassifier(folder / "c.onnx", 1).config
    assert (config["class_table"], config["crop_margin"]) == (["가", "나"], 0.1)
    graphs.write_classification(classifier, tmp_path / "c.onnx", {"class_table": ["가", "나"]})
    assert (tmp_path / "c.onnx").read_bytes() == (folder / "c.onnx").read_bytes()


def foreign(content: bytes) -> bytes:
    model = onnx.load_model_from_string(content)
    del model.metadata_props[:]
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("c.onnx", lambda content: content[:-5000], "not a model exported by PillSnap"),
        ("c.onnx", foreign, f"not a model exported by PillSnap: '{METADATA_KEY}'"),
        ("d.onnx", bytes, "holds a detection model"),
    ],
    ids=["damaged", "foreign", "the detector's"],
)
def test_a_graph_that_is_not_the_classifiers_is_refused(
    folder, tmp_path, name: str, change, words: str
) -> None:
    path = tmp_path / "c.onnx"
    with pytest.raises(CheckpointError, match="missing") as refusal:
        OnnxClassifier(path, 1)
    assert "pillsnap export" in refusal.value.cure
    path.write_bytes(change((folder / name).read_bytes()))
    with pytest.raises(CheckpointError, match=words):
        OnnxClassifier(path, 1)


def test_parity_is_measured_over_all_crops_and_frames(folder, classifier, detector, tmp_path):
    store = CropStore(crop_files.write(tmp_path / "crops") / "val.arrow")
    graph = OnnxClassifier(folder / "c.onnx", 1)
    named = graphs.compare_classifiers(classifier, graph, store, 7)
    assert (named["crops"], named["same_top1"]) == (30, 1.0)
    boxes = OnnxDetector(folder / "d.onnx", 1)
    boxed = graphs.compare_detectors(detector, boxes, [noise(80, 60, 3)])
    assert boxed["largest_box_difference_px"] < 0.05
    torch.manual_seed(1)
    other = TorchClassifier(timm.create_model("test_resnet", num_classes=4), CONFIG, CPU)
    named = graphs.compare_classifiers(other, graph, store, 7)
    assert named["largest_logit_difference"] > 1e-2


def test_timm_loads_its_folder_bit_for_bit(classifier, tmp_path) -> None:
    graphs.write_timm(
        classifier, tmp_path, ["K-000000", "K-000001", "K-000002", "K-000003"], "# Card"
    )
    model = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    for name, tensor in classifier._model.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["label_names"][0] == "K-000000" and config["num_features"] == model.num_features
    assert (tmp_path / "README.md").read_text().endswith("\n---\n# Card")
    assert list(model.default_cfg["mean"]) == [0.5, 0.4, 0.3]
