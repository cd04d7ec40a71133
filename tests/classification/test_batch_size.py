import pytest
import torch

from make.import_graph import ROOT
from pillsnap import params
from pillsnap.classification import batch_size, classifier
from pillsnap.classification.trainer import ClassificationPlan
from pillsnap.errors import ParameterError
from pillsnap.stage.log import RunLog

TREE = params.read(ROOT / "params.yaml")


def with_train(**changes):
    return params.parse({**TREE, "train": {**TREE["train"], **changes}}, ROOT / "params.yaml")


def settled(tmp_path, the_params, device="cpu"):
    model = classifier.build("test_resnet", 4, None, 0)
    plan = ClassificationPlan.of(the_params, torch.device(device))
    with RunLog("t", tmp_path / "live") as log:
        return batch_size.settle(the_params, model, plan, tmp_path, log)


@pytest.mark.parametrize(
    ("room", "size"), [(0, 8), (9, 8), (63, 32), (64, 64), (500, 256), (10_000, 512)]
)
def test_the_largest_power_of_two_that_fits_is_found(room, size):
    assert batch_size.largest(lambda tried: tried <= room, 512) == size


@pytest.mark.parametrize(("asked", "size"), [(24, 24), ("auto", 32)])
def test_a_number_is_taken_as_it_is_and_auto_is_32_on_a_cpu(tmp_path, asked, size):
    assert settled(tmp_path, with_train(batch_size=asked)) == size


def test_a_resumed_run_keeps_what_auto_chose(tmp_path, monkeypatch):
    the_params = with_train(batch_size="auto", mixed_precision="off", compile="off")
    monkeypatch.setattr(batch_size, "fits", lambda *asked: asked[-1] <= 100)
    assert settled(tmp_path, the_params, "cuda") == 64
    lines = (tmp_path / "live/events.jsonl").read_text()
    assert "-S train.batch_size=64 -S train.lr=4.2e-03" in lines  # the square root of 2 times 3e-3
    monkeypatch.setattr(batch_size, "fits", lambda *_: pytest.fail("tried again"))
    assert settled(tmp_path, the_params, "cuda") == 64


def test_a_batch_too_small_for_all_processes_is_refused():
    with pytest.raises(ParameterError, match=r"train\.batch_size is 6: .*train\.devices"):
        with_train(batch_size=6, devices=4)
