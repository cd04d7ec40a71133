import re

import pytest
import safetensors.torch
import torch

from make import bit_flips
from make.evaluated_project import publish_classifier
from make.small_training import MODEL, STEPS, change_gradients, fit, fit_in_two, plan
from pillsnap.classification import classifier, train
from pillsnap.classification import trainer as trainer_
from pillsnap.classification.batches import Batch
from pillsnap.classification.train import Trainer
from pillsnap.errors import CheckpointError, MachineError, ParameterError
from pillsnap.stage.log import RunLog
from pillsnap.training import checkpoints


def test_learns_classes_apart(tmp_path, crops_dir):
    trained = fit(tmp_path, crops_dir, plan(epochs=4, repeats=4))
    assert trained.metrics["top1"] > 0.9


@pytest.mark.parametrize("at_step", [1, 3, 4, 7])
def test_interrupted_anywhere_it_ends_the_same(
    tmp_path, crops_dir, undisturbed, at_step, monkeypatch
):
    trained, steps = fit_in_two(monkeypatch, at_step, tmp_path, crops_dir, plan())
    assert steps == STEPS
    monkeypatch.setattr(Trainer, "train_step", lambda *_: pytest.fail("trained again"))
    for one in (trained, fit(tmp_path, crops_dir, plan())):
        assert checkpoints.weights_hash(one.weights) == undisturbed


def run_out_of_memory(monkeypatch, times):
    errors = [torch.OutOfMemoryError("CUDA out of memory")] * times

    def fail(_trainer):
        if errors:
            raise errors.pop()

    change_gradients(monkeypatch, fail)


def some_batch(count):
    random = torch.Generator().manual_seed(count)
    pictures = torch.randint(0, 256, (count, 24, 24, 3), dtype=torch.uint8, generator=random)
    return Batch(pictures, torch.arange(count) % 4)


def stepped(tmp_path, counts, the_plan=None, **start):
    """A trainer after steps on batches of these sizes."""
    with RunLog("t", tmp_path / "live") as log:
        model = classifier.build(MODEL, 4, None, seed=7, drop_path=0.2)
        trainer = Trainer(model, the_plan or plan(), 9, log)
        for name, value in start.items():
            setattr(trainer, name, value)
        for count in counts:
            trainer.train_step(some_batch(count))
    return trainer


def weights_of(trainer):
    return [checkpoints.weights_hash(trainer.state()[part]) for part in ("model", "average")]


def test_a_step_out_of_memory_is_redone_in_parts_or_ends_with_a_cure(tmp_path, monkeypatch):
    expected = weights_of(stepped(tmp_path, [16], micro_batches=2))
    run_out_of_memory(monkeypatch, 1)
    assert weights_of(stepped(tmp_path, [16])) == expected
    events = (tmp_path / "live" / "events.jsonl").read_text()
    assert "redone in 2 parts, with the same effective batch of 16" in events
    run_out_of_memory(monkeypatch, 9)
    with pytest.raises(MachineError, match=r"train\.batch_size \(is 16\)"):
        stepped(tmp_path, [16])


def test_a_batch_that_does_not_divide_has_no_part_of_one_sample(tmp_path):
    assert stepped(tmp_path, [9, 3, 5], micro_batches=8).step == 3  # batch norm refuses one


def test_parts_are_merged_again_after_many_good_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_, "MERGE_AFTER_STEPS", 2)
    for steps, parts in ((1, 4), (2, 2), (5, 1)):
        run_out_of_memory(monkeypatch, 2)
        assert stepped(tmp_path, [16] * steps).micro_batches == parts


def raising(*_):
    raise RuntimeError("Cannot find a working triton installation.\nLong explanation")


class FailingBackward(torch.autograd.Function):
    """A graph whose backward pass cannot be compiled."""

    @staticmethod
    def forward(_ctx, logits):
        return logits.clone()

    @staticmethod
    def backward(_ctx, _gradient):
        raising()


@pytest.mark.parametrize(
    "broken",
    [raising, lambda _: raising, lambda model: lambda x: FailingBackward.apply(model(x))],
    ids=["compile", "forward", "backward"],
)
def test_a_compiler_that_fails_is_given_up_with_one_warning(tmp_path, monkeypatch, broken):
    expected = weights_of(stepped(tmp_path, [16, 16]))
    monkeypatch.setattr(torch, "compile", broken)
    assert weights_of(stepped(tmp_path, [16, 16], plan(compile=True))) == expected
    events = (tmp_path / "live" / "events.jsonl").read_text()
    warning = "torch.compile failed, the training continues without it: Cannot find a working"
    assert events.count(warning) == 1
    monkeypatch.setattr(Trainer, "gradients", raising)  # an error of the model is not hidden
    monkeypatch.setattr(torch, "compile", lambda model: model)
    with pytest.raises(RuntimeError, match="triton"):
        stepped(tmp_path, [16], plan(compile=True))


def test_losses_of_parts_add_up_to_that_of_the_batch(tmp_path):
    model = classifier.build(MODEL, 4, None, seed=7)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.track_running_stats = False  # parts have statistics of their own
    pictures = torch.randint(0, 256, (8, 24, 24, 3), dtype=torch.uint8)
    batch = Batch(pictures, torch.tensor([0, 0, 0, 1, 1, 2, 3, 3]))
    with RunLog("t", tmp_path / "live") as log:
        trainer = Trainer(model, plan(), 9, log)
        model.eval()
        whole = trainer.gradients(batch, 8)
        trainer.micro_batches = 2
        assert float(trainer.gradients(batch, 8)) == pytest.approx(float(whole), rel=1e-5)


def test_learning_rate_warms_up_then_falls_to_zero():
    rates = [train.learning_rate(step, plan(epochs=10), 10) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10] == pytest.approx(3e-3)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 1e-5


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        (("test_resnet_9000", 4, None, 0), ParameterError, "test_resnet_9000"),
        (("test_resnet.r160_in1k", 4, "hub", 0), MachineError, "classifier_weights"),
        ((MODEL, 4, "absent.pt", 0), CheckpointError, "are missing"),
        ((MODEL, 4, "vit.pt", 0), CheckpointError, "another model"),
        (("vgg11", 4, None, 0, 0.2), ParameterError, r"Set scales.<scale>.drop_path to 0\.0"),
    ],
)
def test_a_model_that_cannot_be_built_is_refused(tmp_path, monkeypatch, asked, error, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    torch.save(classifier.build("test_vit", 4, None, 0).state_dict(), "vit.pt")
    with pytest.raises(error) as refused:
        classifier.build(*asked)
    assert re.search(words, f"{refused.value.fact} {refused.value.cure}")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "hf-hub:someone/model"}, "architecture: String should match"),
        ({"architecture": "resnet9000"}, "weights that do not fit its model: Unknown model"),
        ({"architecture": "test_vit"}, "weights that do not fit its model"),
        ({"image_px": 10**9}, "image_px: "),
        ({"classes": "4"}, "classes: "),
        ({"std": [0.1, 0.0, 0.1]}, "std.1: "),
        ({"kind": "detection"}, "holds a detection model"),
    ],
)
def test_a_whole_checkpoint_that_cannot_be_used_is_refused(tmp_path, changes, words):
    publish_classifier(tmp_path / "c.pt", **changes)
    with pytest.raises(CheckpointError, match=words):
        classifier.load(tmp_path / "c.pt", torch.device("cpu"), "abc")


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_a_flipped_bit_in_weights_to_start_from_is_refused_or_changes_nothing(tmp_path, ending):
    path = tmp_path / f"w.{ending}"
    expected = publish_classifier(tmp_path / "w.pt")
    if ending == "safetensors":
        sealed = {classifier.SAFETENSORS_HASH: checkpoints.weights_hash(expected)}
        safetensors.torch.save_file(expected, path, sealed)
    refused = 0
    for damaged in bit_flips.flipped(path.read_bytes(), 40):
        path.write_bytes(damaged)
        try:
            found = classifier.build(MODEL, 4, str(path), 5).state_dict()
        except CheckpointError:
            refused += 1
        else:
            assert checkpoints.weights_hash(found) == checkpoints.weights_hash(expected)
    assert refused > 25


def test_a_loaded_classifier_gives_logits_and_unit_embeddings_for_its_own_class_table(tmp_path):
    path, cpu = tmp_path / "c.pt", torch.device("cpu")
    publish_classifier(path)
    crops = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8).numpy()
    logits, embeddings = classifier.load(path, cpu, "abc").classify(crops)
    assert logits.shape == (3, 4)
    assert torch.linalg.norm(torch.tensor(embeddings), dim=1).tolist() == pytest.approx([1.0] * 3)
    with pytest.raises(CheckpointError, match="another class table"):
        classifier.load(path, cpu, "abd")


def test_drop_path_skips_branches_in_training_only():
    name, pictures = "test_vit2", torch.rand(2, 3, 64, 64)
    model, plain = (classifier.build(name, 4, None, 0, share) for share in (0.9, 0.0))
    assert torch.equal(model.eval()(pictures), plain.eval()(pictures))
    assert not torch.equal(model.train()(pictures), plain.train()(pictures))
    with torch.device("meta"):  # a model without branches, as the refusal's cure says
        classifier.build("vgg11", 4, None, 0, drop_path=0.0)
