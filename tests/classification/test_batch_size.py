"""train.batch_size: auto."""

import pytest
import torch

from make.import_graph import ROOT
from pillsnap import params
from pillsnap.classification import batch_size, classifier
from pillsnap.classification.trainer import Plan
from pillsnap.errors import ParameterError
from pillsnap.stage.log import RunLog

TREE = params.read(ROOT / "params.yaml")


def with_train(**changes):
    return params.parse({**TREE, "train": {**TREE["train"], **changes}}, ROOT / "params.yaml")


def settled(tmp_path, the_params, device="cpu"):
    model = classifier.build("test_resnet", 4, None, 0)
    plan = Plan.of(the_params, torch.device(device))
    with RunLog("t", tmp_path / "live") as log:
        return batch_size.settle(the_params, model, plan, tmp_path, log)


@pytest.mark.parametrize("room", [8, 9, 63, 64, 65, 200, 500, 10_000])
def test_the_largest_multiple_of_eight_that_fits_is_found(room):
    assert batch_size.largest(lambda size: size <= room, 512) == min(room // 8 * 8, 512)


def test_where_nothing_fits_the_smallest_is_tried():
    assert batch_size.largest(lambda _size: False, 512) == 8


def test_few_sizes_are_tried():
    tried = []
    batch_size.largest(lambda size: tried.append(size) or size <= 300, 512)
    assert len(tried) <= 12


def test_a_number_is_taken_as_it_is(tmp_path):
    assert settled(tmp_path, with_train(batch_size=24)) == 24


def test_auto_is_a_number_of_the_parameters_on_a_cpu(tmp_path):
    assert settled(tmp_path, with_train(batch_size="auto", batch_size_cpu=48)) == 48


def test_a_resumed_run_keeps_what_auto_chose(tmp_path, monkeypatch):
    the_params = with_train(batch_size="auto", mixed_precision="off", compile="off")
    monkeypatch.setattr(batch_size.Probe, "fits", lambda _self, size: size <= 100)
    assert settled(tmp_path, the_params, "cuda") == 96
    monkeypatch.setattr(batch_size.Probe, "fits", lambda *_: pytest.fail("tried again"))
    assert settled(tmp_path, the_params, "cuda") == 96


def test_a_batch_too_small_for_all_processes_is_refused():
    with pytest.raises(ParameterError, match=r"train\.batch_size is 6: .*train\.devices"):
        with_train(batch_size=6, devices=4)
