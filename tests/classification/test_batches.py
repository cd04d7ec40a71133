import numpy as np
import pytest
import torch

from make.import_graph import ROOT
from pillsnap import params
from pillsnap.classification import batches
from pillsnap.classification.augment import Augmenter
from pillsnap.classification.batches import CropDataset, EpochBatches
from pillsnap.dataset.crops import CropStore

RECIPE = params.load(ROOT / "params.yaml").train_classification


def epoch_of(crops_dir, num_workers, epoch=3, start_step=0):
    dataset = CropDataset(crops_dir / "train.arrow", 24, Augmenter(24, RECIPE), seed=5)
    keys = EpochBatches(len(dataset), 16, seed=5, shuffle=True, repeats=2)
    keys.epoch, keys.start_step = epoch, start_step
    return list(batches.loader(dataset, keys, num_workers, pin_memory=False))


@pytest.mark.slow
def test_two_workers_give_the_same_batches_as_none(crops_dir):
    for alone, shared in zip(epoch_of(crops_dir, 0), epoch_of(crops_dir, 2), strict=True):
        assert torch.equal(alone.pictures, shared.pictures)
        assert torch.equal(alone.classes, shared.classes)


def test_starting_at_a_step_gives_the_rest_of_the_epoch_and_epochs_differ(crops_dir):
    whole, rest = epoch_of(crops_dir, 0), epoch_of(crops_dir, 0, start_step=4)
    assert len(rest) == len(whole) - 4
    assert all(torch.equal(a.pictures, b.pictures) for a, b in zip(whole[4:], rest, strict=True))
    assert not torch.equal(whole[0].classes, epoch_of(crops_dir, 0, epoch=4)[0].classes)
    assert EpochBatches(33, 16, seed=0, shuffle=True).steps == 2  # without a lone last sample
    assert EpochBatches(33, 16, seed=0, shuffle=False).steps == 3


def test_every_known_pill_comes_as_often_as_asked(crops_dir):
    counts = np.bincount(torch.cat([b.classes for b in epoch_of(crops_dir, 0)]), minlength=4)
    once = CropDataset(crops_dir / "train.arrow", 24, None, 5).classes
    assert (len(once), once.min()) == (48, 0)
    assert counts.tolist() == (2 * np.bincount(once, minlength=4)).tolist()


def test_crops_of_a_small_set_are_decoded_once_and_of_a_large_one_every_time(
    crops_dir, monkeypatch
):
    decoded, decode = [], CropStore.decode
    monkeypatch.setattr(
        CropStore, "decode", lambda store, row: decoded.append(row) or decode(store, row)
    )
    small = epoch_of(crops_dir, 0)
    assert len(decoded) == len(set(decoded)) == 48
    decoded.clear()
    monkeypatch.setattr(batches, "KEPT_BYTES", 1000)
    large = epoch_of(crops_dir, 0)
    assert len(decoded) == 2 * 48
    assert all(torch.equal(a.pictures, b.pictures) for a, b in zip(small, large, strict=True))
