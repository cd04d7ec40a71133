"""Batches of crops for the classifier, each sample keyed by (seed, epoch, index).

The key determines order and augmentation: a batch is the same for any number of workers and after
an interruption.
"""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from pillsnap.arrays import Ints, Pixels
from pillsnap.classification.augment import Augmenter, to_input
from pillsnap.dataset.crops import CropStore
from pillsnap.stage.signals import leave_to_parent
from pillsnap.training.ranks import ALONE, Ranks

KEPT_BYTES = 2**28  # of decoded crops: decoding is a twelfth of the time of the demo's loop
Key = tuple[int, int]  # epoch, row


class Batch(NamedTuple):
    """uint8 pictures [n, px, px, 3] and class indices [n]."""

    pictures: torch.Tensor
    classes: torch.Tensor


class CropDataset(Dataset[Batch]):
    """The known pills of a crop store; augmented if there is an augmenter."""

    def __init__(self, path: Path, image_px: int, augmenter: Augmenter | None, seed: int) -> None:
        self._store = CropStore(path)
        self._image_px, self._augmenter, self._seed = image_px, augmenter, seed
        table = self._store.table
        self._rows = np.flatnonzero(table["known"].to_numpy())
        self.classes: Ints = table["class_index"].to_numpy()[self._rows]  # of every sample
        self._kept: dict[int, Pixels] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, keys: list[Key]) -> Batch:
        """A whole batch; a rank's part of a small one may be empty."""
        if not keys:
            empty = np.empty((0, self._image_px, self._image_px, 3), np.uint8)
            return Batch(torch.from_numpy(empty), torch.empty(0, dtype=torch.int64))
        pictures = [self._picture(epoch, index) for epoch, index in keys]
        classes = self.classes[[index % len(self) for _, index in keys]]
        return Batch(torch.from_numpy(np.stack(pictures)), torch.from_numpy(classes.copy()))

    def _picture(self, epoch: int, index: int) -> Pixels:
        crop = self._crop(int(self._rows[index % len(self)]))
        if self._augmenter is None:
            picture: Pixels = to_input(crop[None], self._image_px)[0]
            return picture
        return self._augmenter(crop, np.random.default_rng((self._seed, epoch, index)))

    def _crop(self, row: int) -> Pixels:
        """A decoded crop; a small set is kept where no loader process multiplies it."""
        crop = self._kept.get(row)
        if crop is None:
            crop = self._store.decode(row)
            if crop.nbytes * len(self) <= KEPT_BYTES and get_worker_info() is None:
                self._kept[row] = crop
        return crop


@dataclass(eq=False)
class EpochBatches(Sampler[list[Key]]):
    """Keys of the batches of one epoch, shuffled by (seed, epoch), from `start_step` on.

    A key's index runs over `samples` x `repeats`: each sample occurs `repeats` times, augmented
    differently. The batches are the same for any number of ranks; each takes its part by position.
    """

    samples: int
    batch_size: int
    seed: int
    shuffle: bool
    repeats: int = 1
    ranks: Ranks = ALONE
    epoch: int = 0
    start_step: int = 0

    @property
    def _count(self) -> int:
        return self.samples * self.repeats

    @property
    def steps(self) -> int:
        """Batches in a whole epoch; a lone last sample is dropped in training (batch norm)."""
        whole, rest = divmod(self._count, self.batch_size)
        least = 2 if self.shuffle else 1
        return whole + (rest >= least)

    def size(self, step: int) -> int:
        """Samples in the batch of a step, over all ranks."""
        return min(self.batch_size, self._count - step * self.batch_size)

    def __len__(self) -> int:
        return self.steps - self.start_step

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.arange(self._count)
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self._count)
        for step in range(self.start_step, self.steps):
            batch = order[step * self.batch_size : (step + 1) * self.batch_size]
            part = batch[self.ranks.part(len(batch))]
            yield [(self.epoch, int(index)) for index in part]


def loader(
    dataset: CropDataset, batches: EpochBatches, num_workers: int, pin_memory: bool
) -> DataLoader[Batch]:
    """A DataLoader of whole batches."""
    return DataLoader(
        dataset,
        batch_size=None,  # an item is a whole batch
        sampler=batches,
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
        prefetch_factor=4 if num_workers else None,
        generator=torch.Generator().manual_seed(0),  # the global one is the model's
        worker_init_fn=_start_worker,
        # Not fork: the child of a process that has used OpenCV or OpenMP threads may hang.
        multiprocessing_context="forkserver" if num_workers else None,
    )


def shield_loaders() -> None:
    """Start the process that forks loader workers with SIGTERM blocked.

    torchrun signals a rank and all its children, but the rank needs its workers to finish a step.
    They exit with it. (Children inherit a blocked signal.)
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    forkserver.ensure_running()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(number: int) -> None:
    leave_to_parent(number)
    cv2.setNumThreads(1)
