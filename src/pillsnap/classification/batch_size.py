"""train.batch_size: auto, the largest batch that fits a GPU with memory to spare."""

import copy
import gc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from pillsnap import files
from pillsnap.classification.batches import Batch
from pillsnap.classification.trainer import ClassificationPlan, Trainer
from pillsnap.params import Params
from pillsnap.stage.log import RunLog
from pillsnap.training import devices
from pillsnap.training.ranks import ALONE

LEAST = 8  # tensor cores work in eights
KEPT_FREE = 0.125  # of the GPU's memory: for fragments, validation and other processes
FILE = "batch_size.json"


def settle(
    params: Params, model: nn.Module, plan: ClassificationPlan, folder: Path, log: RunLog
) -> int:
    """Crops per step of all ranks together; `folder` keeps what auto chose for a resumed run."""
    if params.train.batch_size != "auto":
        return params.train.batch_size
    if plan.device.type != "cuda":
        return params.batch_size
    group, path = plan.ranks, folder / FILE
    kept = group.is_main and path.exists()
    chosen = group.total(files.read_json(path, f"rm {path}")["batch_size"] if kept else 0)
    if not chosen:
        most = max(LEAST, params.train.batch_size_most // group.world_size)
        probe = partial(fits, model, plan, params.at_scale.image_px, log)
        chosen = group.same(largest(probe, most)) * group.world_size
        log.info(f"batch size {chosen}, the largest that leaves {KEPT_FREE:.0%} of the memory free")
        scaled = f"-S train.batch_size={chosen} -S train.lr={params.scaled_lr(chosen):.1e}"
        log.info(f"train.lr is {params.lr:.1e}; scaled by the square root of the batch: {scaled}")
        if group.is_main:
            files.write_json(path, {"batch_size": chosen})
    return chosen


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest of LEAST times 1, 2, 4, ..., at most `most`, that fits; LEAST if none does."""
    size = LEAST
    while size * 2 <= most and fits(size * 2):
        size *= 2
    return size


def fits(
    model: nn.Module, plan: ClassificationPlan, image_px: int, log: RunLog, batch_size: int
) -> bool:
    """Whether a step with so many random crops leaves KEPT_FREE of the GPU's memory free."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(plan.device)
    free, total = torch.cuda.mem_get_info(plan.device)
    before = torch.cuda.memory_reserved(plan.device)
    try:
        # Not compiled: that saves no memory, and compiling for each size would take minutes.
        alone = replace(plan, ranks=ALONE, compile=False)
        trainer = Trainer(copy.deepcopy(model), alone, 1, log)
        pictures = torch.randint(0, 256, (batch_size, image_px, image_px, 3), dtype=torch.uint8)
        batch = Batch(pictures, torch.zeros(batch_size, dtype=torch.int64))
        trainer.gradients(batch, batch_size)
        trainer.optimizer.step()
        torch.cuda.synchronize(plan.device)
    except Exception as error:
        if devices.out_of_memory(error):
            return False
        raise
    taken = torch.cuda.max_memory_reserved(plan.device) - before
    return free - taken >= KEPT_FREE * total
