import math
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import chain

import numpy as np
import orjson
import pytest
import torch
from torch.utils.data import BatchSampler

from make import detection_files
from make.evaluated_project import publish_detector
from make.hostile import Hostile
from make.import_graph import ROOT
from pillsnap import params
from pillsnap.detection import detector, train
from pillsnap.detection import plan as detector_
from pillsnap.detection.frames import Keys
from pillsnap.detection.letterbox import Letterbox
from pillsnap.detection.trainer import PillTrainer
from pillsnap.errors import CheckpointError, MachineError
from pillsnap.stage.log import RunLog
from pillsnap.training import checkpoints
from pillsnap.training.checkpoints import WorkFolder
from pillsnap.training.ranks import Ranks

RECIPE = params.load(ROOT / "params.yaml").train_detection


def test_a_letterboxed_frame_is_centred_on_grey_and_boxes_come_back():
    fit = Letterbox.of(976, 1280, 256)
    assert (fit.out_width, fit.out_height) == (224, 256)
    boxes = np.array([[100, 200, 400, 600], [0, 0, 976, 1280]], np.float32)
    inside = boxes * fit.scale + np.array([fit.left, fit.top] * 2, np.float32)
    assert np.abs(fit.undo(inside) - boxes).max() < 1e-2
    picture = Letterbox.of(300, 100, 96).apply(np.zeros((100, 300, 3), np.uint8))
    assert picture.shape == (32, 96, 3)
    assert not picture.any()
    tall = Letterbox.of(100, 250, 96).apply(np.zeros((250, 100, 3), np.uint8))
    assert tall.shape == (96, 64, 3)
    assert (tall[:, 0] == 114).all()


def test_loaded_detector_answers_per_frame_in_order(tmp_path):
    found = detector.load(publish_detector(tmp_path / "d.pt"), torch.device("cpu")).detect(
        [np.zeros((120, 90, 3), np.uint8), np.full((60, 90, 3), 99, np.uint8)], 0.0001, 0.6
    )
    assert len(found) == 2
    for (boxes, scores), (height, width) in zip(found, [(120, 90), (60, 90)], strict=True):
        assert boxes.shape == (len(scores), 4)
        assert (np.diff(scores) <= 0).all()
        assert (boxes >= 0).all()
        assert (boxes[:, [0, 2]] <= width).all()
        assert (boxes[:, [1, 3]] <= height).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "classification"}, "holds a classification model"),
        ({"architecture": "../other"}, "architecture: String should match"),
        ({"architecture": "yolo11s"}, "weights that do not fit its model"),
        ({"image_px": 10**9}, "image_px: "),
        ({"image_px": None}, "image_px: "),
    ],
)
def test_a_whole_checkpoint_that_cannot_be_used_is_refused(tmp_path, changes, words):
    path = publish_detector(tmp_path / "d.pt", **changes)
    with pytest.raises(CheckpointError, match=words):
        detector.load(path, torch.device("cpu"))


def test_missing_weights_and_a_hub_without_network_name_the_option(monkeypatch, tmp_path):
    with pytest.raises(CheckpointError, match="detector_weights"):
        train.pretrained_path("yolo11n", str(tmp_path / "absent.pt"))
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setattr("ultralytics.utils.downloads.is_online", lambda: False)
    with pytest.raises(MachineError, match="detector_weights"):
        train.pretrained_path("yolo11n", "hub")
    assert os.environ["YOLO_OFFLINE"] == "true"


def plan(architecture="yolo11n", num_workers=0, bf16=False):
    return detector_.DetectionPlan(
        architecture=architecture, weights=None, image_px=96, epochs=3, batch_size=4, lr=1e-3,
        recipe=RECIPE, seed=3, device=torch.device("cpu"), dtype=torch.bfloat16 if bf16 else None,
        num_workers=num_workers, goals={},
    )  # fmt: skip


def fit(folder, data_dir, the_plan):
    with RunLog("train_detection", folder / "live") as log, WorkFolder("d", "f", folder) as work:
        return train.train(the_plan, data_dir, work, folder / "live" / "detection", log)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return detection_files.write(tmp_path_factory.mktemp("frames"))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, data_dir):
    return fitted_hash(tmp_path_factory.mktemp("undisturbed"), data_dir, plan())


def fitted_hash(*what):
    return checkpoints.weights_hash(fit(*what).weights)


def fitted_in_two(monkeypatch, *what):
    """sha256 of the weights of a training that is interrupted after its first epoch; the epochs."""
    save, saved = PillTrainer.save_model, []

    def once(self):
        result = save(self)
        saved.append(self.epoch)
        if len(saved) == 1:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(PillTrainer, "save_model", once)
    with pytest.raises(KeyboardInterrupt):
        fit(*what)
    return fitted_hash(*what), saved


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "bf16"), [("yolo11n", True), ("yolo26n", False)])
def test_interrupted_it_ends_the_same(tmp_path, data_dir, monkeypatch, architecture, bf16):
    what = data_dir, plan(architecture, bf16=bf16)
    whole = fitted_hash(tmp_path / "whole", *what)
    assert fitted_in_two(monkeypatch, tmp_path / "parts", *what) == (whole, [0, 1, 2])
    assert not list(data_dir.rglob("*.cache"))


@pytest.mark.slow
@pytest.mark.parametrize("bf16", [True, False])
def test_the_forward_pass_has_the_precision_asked_for(tmp_path, data_dir, monkeypatch, bf16):
    kinds = []

    def first_step(_trainer, _batch):
        enabled = torch.is_autocast_enabled("cpu")
        kinds.append(torch.get_autocast_dtype("cpu") if enabled else torch.float32)
        raise KeyboardInterrupt

    monkeypatch.setattr(PillTrainer, "preprocess_batch", first_step)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, data_dir, plan(bf16=bf16))
    assert kinds == [torch.bfloat16 if bf16 else torch.float32]


@pytest.mark.slow
def test_an_epoch_ended_by_a_signal_is_redone(tmp_path, data_dir, undisturbed, monkeypatch):
    end_batch, batches = PillTrainer._end_batch, []

    def signalled(self):
        batches.append(self.epoch)
        if len(batches) == 3:
            signal.raise_signal(signal.SIGTERM)
        end_batch(self)

    monkeypatch.setattr(PillTrainer, "_end_batch", signalled)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "parts", data_dir, plan())
    assert fitted_hash(tmp_path / "parts", data_dir, plan()) == undisturbed
    assert batches == [0, 0, 1, 1, 1, 2, 2]
    monkeypatch.setattr(PillTrainer, "train", lambda _: pytest.fail("trained again"))
    assert fitted_hash(tmp_path / "parts", data_dir, plan()) == undisturbed


@pytest.mark.slow
def test_every_step_takes_the_gradients_of_all_ranks(tmp_path, data_dir, monkeypatch):
    shared = []
    monkeypatch.setattr(Ranks, "share", lambda _ranks, _model, part: shared.append(part))
    fit(tmp_path, data_dir, replace(plan(), epochs=1))
    assert shared == [1.0, 1.0]


def spoil_at(monkeypatch, bad):
    """An infinite gradient where `bad(epoch, step, times)` says so; the epochs of all steps.

    `times` counts the steps of that epoch in all trainings so far.
    """
    step, epochs = PillTrainer.optimizer_step, []

    def spoiled(self):
        if bad(self.epoch, self.steps, epochs.count(self.epoch)):
            next(p for p in self.model.parameters() if p.grad is not None).grad.fill_(torch.inf)
        epochs.append(self.epoch)
        step(self)

    monkeypatch.setattr(PillTrainer, "optimizer_step", spoiled)
    return epochs


def skipped(folder):
    lines = (folder / "live/events.jsonl").read_bytes().splitlines()
    found = [event["metrics"] for event in map(orjson.loads, lines) if event["kind"] == "epoch"]
    assert all(math.isfinite(epoch["loss/train"]) for epoch in found)
    return [epoch["skipped_steps"] for epoch in found]


@pytest.mark.slow
def test_a_skipped_step_is_resumed_exactly(tmp_path, data_dir, monkeypatch):
    spoil_at(monkeypatch, lambda epoch, step, _: (epoch, step) == (1, 1))
    whole = fit(tmp_path / "whole", data_dir, plan())
    parts, _ = fitted_in_two(monkeypatch, tmp_path / "parts", data_dir, plan())
    assert skipped(tmp_path / "whole") == skipped(tmp_path / "parts") == [0, 1, 0]
    assert parts == checkpoints.weights_hash(whole.weights)
    assert all(tensor.isfinite().all() for tensor in whole.weights.values())


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "epoch"), [("yolo11n", 0), ("yolo26n", 1)])
def test_a_bad_epoch_is_repeated_once(tmp_path, data_dir, monkeypatch, architecture, epoch):
    whole = fitted_hash(tmp_path / "whole", data_dir, plan(architecture))
    steps = spoil_at(monkeypatch, lambda now, _, times: now == epoch and times < 2)
    assert fitted_hash(tmp_path / "again", data_dir, plan(architecture)) == whole
    assert steps == sorted([0, 0, 1, 1, 2, 2, epoch, epoch])
    assert skipped(tmp_path / "again") == [0, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "fact", "cure"),
    [
        (False, "Epoch 2 is unusable even after", "lower train_detection.lr (is 0.001)"),
        (True, "the checkpoint before it is damaged", "resumes from the last whole checkpoint"),
    ],
)
def test_an_epoch_bad_twice_is_refused(
    tmp_path, data_dir, undisturbed, monkeypatch, damage, fact, cure
):
    def bad(epoch, _step, times):
        if epoch == 1 and times < 2 and damage:
            (tmp_path / "d/f/newest.ckpt").write_bytes(b"damaged")
        return epoch == 1 and times < (2 if damage else 4)

    spoil_at(monkeypatch, bad)
    with pytest.raises(MachineError, match=fact) as refused:
        fit(tmp_path, data_dir, plan())
    assert cure in refused.value.cure
    assert fitted_hash(tmp_path, data_dir, plan()) == undisturbed


@pytest.mark.slow
def test_hostile_weights_never_run(tmp_path, data_dir):
    evil = tmp_path / "evil.pt"
    evil.write_bytes(pickle.dumps({"model": Hostile(tmp_path / "ran")}, protocol=2))
    with pytest.raises(CheckpointError, match=r"evil\.pt"):
        fit(tmp_path, data_dir, replace(plan(), weights=str(evil)))
    assert not (tmp_path / "ran").exists()


def key_order(samples, batch_size, world_size):
    ranks = [Keys(samples, 5, batch_size, Ranks(rank, world_size)) for rank in range(world_size)]
    batches = []
    for epoch in range(2):
        for keys in ranks:
            keys.epoch = epoch
        parts = [BatchSampler(keys, batch_size // world_size, drop_last=False) for keys in ranks]
        batches += [list(chain(*of_ranks)) for of_ranks in zip(*parts, strict=True)]
    return batches


def test_ranks_share_out_the_batches_of_one_process():
    assert key_order(40, 8, 2) == key_order(40, 8, 1)
    alone, shared = key_order(41, 8, 1), key_order(41, 8, 4)
    assert shared[:5] == alone[:5]
    assert shared[5] == alone[5] + alone[0][:3]  # parts are equal


def test_stage_scripts_leave_torch_all_its_threads_and_so_do_stages_that_they_start():
    variables = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    threads = set()
    for first in ("torch", "train_detection", "train_classification", "evaluate"):
        code = f"""import {first}, pillsnap.detection.train, os, torch
print(torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS"))"""
        path = {"PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(
            [sys.executable, "-c", code], env=variables | path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        threads.add(done.stdout)
    assert len(threads) == 1, threads
