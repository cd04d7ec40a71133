"""The classifier's training: learns, resumes exactly, redoes a step that ran out of memory."""

import signal

import pytest
import torch

from make import crop_files
from make.import_graph import ROOT
from pillsnap import params
from pillsnap.classification import classifier, train
from pillsnap.classification.augment import Augmenter
from pillsnap.classification.batches import Batch
from pillsnap.classification.train import Plan, Trainer
from pillsnap.errors import CheckpointError, MachineError, ParameterError
from pillsnap.stage.log import RunLog
from pillsnap.training import checkpoints
from pillsnap.training.checkpoints import WorkFolder

RECIPE = params.load(ROOT / "params.yaml").train_classification
MODEL = "test_resnet"


def plan(**changes):
    base = {
        "epochs": 3, "repeats": 1, "batch_size": 16, "lr": 3e-3, "recipe": RECIPE, "seed": 7,
        "device": torch.device("cpu"), "dtype": None, "compile": False, "num_workers": 0,
        "goals": {},
    }  # fmt: skip
    return Plan(**{**base, **changes})


def fit(folder, crops_dir, the_plan, image_px=24):
    model = classifier.build(MODEL, 4, None, seed=7)
    with (
        RunLog("train_classification", folder / "live") as log,
        WorkFolder("c", "f", folder) as work,
    ):
        return train.train(
            model, the_plan, crops_dir, Augmenter(image_px, RECIPE), work, folder / "live/c", log
        )


@pytest.fixture(scope="module")
def crops_dir(tmp_path_factory):
    return crop_files.write(tmp_path_factory.mktemp("crops"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, crops_dir):
    trained = fit(tmp_path_factory.mktemp("undisturbed"), crops_dir, plan())
    return checkpoints.weights_hash(trained.weights)


def test_learns_classes_apart(tmp_path, crops_dir):
    trained = fit(tmp_path, crops_dir, plan(epochs=8, repeats=4))
    assert trained.metrics["top1"] > 0.9


def interrupt_at(monkeypatch, at_step):
    """SIGTERM once, after so many steps; returns a list that holds their number."""
    steps, step = [0], Trainer.train_step

    def counted(self, batch, whole):
        step(self, batch, whole)
        steps[0] += 1
        if steps[0] == at_step:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Trainer, "train_step", counted)
    return steps


@pytest.mark.parametrize("at_step", [1, 3, 4, 7])
def test_interrupted_anywhere_it_ends_with_the_same_weights(
    tmp_path, crops_dir, undisturbed, at_step, monkeypatch
):
    steps = interrupt_at(monkeypatch, at_step)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, crops_dir, plan())
    trained = fit(tmp_path, crops_dir, plan())
    assert steps == [9]
    assert checkpoints.weights_hash(trained.weights) == undisturbed


def test_finished_training_is_not_trained_again(tmp_path, crops_dir, undisturbed, monkeypatch):
    fit(tmp_path, crops_dir, plan())
    monkeypatch.setattr(Trainer, "train_step", lambda *_: pytest.fail("trained again"))
    assert checkpoints.weights_hash(fit(tmp_path, crops_dir, plan()).weights) == undisturbed


def test_out_of_memory_is_redone_in_parts_with_the_same_batch(tmp_path, crops_dir, monkeypatch):
    gradients, failures = Trainer.gradients, [1]

    def scarce(self, batch, whole):
        if failures:
            failures.pop()
            raise torch.OutOfMemoryError("CUDA out of memory")
        return gradients(self, batch, whole)

    monkeypatch.setattr(Trainer, "gradients", scarce)
    fit(tmp_path, crops_dir, plan(epochs=1))
    events = (tmp_path / "live" / "events.jsonl").read_text()
    assert "redone in 2 parts" in events
    assert "effective batch of 16" in events


def test_losses_of_parts_add_up_to_that_of_the_batch(tmp_path):
    model = classifier.build(MODEL, 4, None, seed=7)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.track_running_stats = False  # parts have statistics of their own
            module.eval()
    pictures = torch.randint(0, 256, (8, 24, 24, 3), dtype=torch.uint8)
    batch = Batch(pictures, torch.tensor([0, 0, 0, 1, 1, 2, 3, 3]))
    with RunLog("t", tmp_path / "live") as log:
        trainer = Trainer(model.eval(), plan(), 9, log)
        whole = trainer.gradients(batch, 8)
        trainer.micro_batches = 2
        assert float(trainer.gradients(batch, 8)) == pytest.approx(float(whole), rel=1e-5)


def test_memory_that_never_suffices_ends_with_a_cure(tmp_path, crops_dir, monkeypatch):
    def never(self, batch, whole):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Trainer, "gradients", never)
    with pytest.raises(MachineError, match=r"train\.batch_size \(is 16\)"):
        fit(tmp_path, crops_dir, plan(epochs=1))


def test_loss_that_is_no_number_ends_with_a_cure(tmp_path, crops_dir):
    with pytest.raises(MachineError, match=r"Lower train\.lr"):
        fit(tmp_path, crops_dir, plan(lr=1e30, epochs=2))


def test_learning_rate_warms_up_then_falls_to_zero():
    rates = [train.learning_rate(step, plan(epochs=10), 10) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10] == pytest.approx(3e-3)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 1e-5


def test_weights_of_another_model_are_refused(tmp_path):
    torch.save(classifier.build("test_vit", 4, None, 0).state_dict(), tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="another model"):
        classifier.build(MODEL, 4, str(tmp_path / "w.pt"), 0)


def test_weights_with_another_number_of_classes_start_with_a_new_head(tmp_path):
    source = classifier.build(MODEL, 9, None, 1)
    torch.save(source.state_dict(), tmp_path / "w.pt")
    model = classifier.build(MODEL, 4, str(tmp_path / "w.pt"), 0)
    assert torch.equal(model.state_dict()["conv1.0.weight"], source.state_dict()["conv1.0.weight"])


def test_missing_weights_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="are missing"):
        classifier.build(MODEL, 4, str(tmp_path / "absent.pt"), 0)


def test_unknown_model_is_refused_with_near_names():
    with pytest.raises(ParameterError, match="test_resnet_9000"):
        classifier.build("test_resnet_9000", 4, None, 0)


def test_hub_without_network_names_the_option(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MachineError, match="classifier_weights"):
        classifier.build("test_resnet.r160_in1k", 4, "hub", 0)


def publish(path, class_table_hash="abc"):
    model = classifier.build(MODEL, 4, None, 0)
    mean, std = classifier.input_statistics(model)
    config = {
        "kind": "classification", "architecture": MODEL, "classes": 4, "image_px": 24,
        "class_table_hash": class_table_hash, "mean": mean, "std": std,
    }  # fmt: skip
    checkpoints.publish(path, model.state_dict(), config)


def test_checkpoint_of_another_class_table_is_refused(tmp_path):
    publish(tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match="another class table"):
        classifier.load(tmp_path / "c.pt", torch.device("cpu"), "abd")


def test_loaded_classifier_gives_logits_and_unit_embeddings(tmp_path):
    publish(tmp_path / "c.pt")
    loaded = classifier.load(tmp_path / "c.pt", torch.device("cpu"), "abc")
    crops = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8).numpy()
    logits, embeddings = loaded.classify(crops)
    assert logits.shape == (3, 4)
    assert torch.linalg.norm(torch.tensor(embeddings), dim=1).tolist() == pytest.approx([1.0] * 3)
