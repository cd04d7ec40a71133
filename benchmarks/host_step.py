"""Host time of a training step outside forward and backward, as it was and as it is.

    python benchmarks/host_step.py [--model tf_efficientnetv2_s] [--rounds 50]

A GPU does the arithmetic of these parts while the host continues, so only the time to start them
counts. Therefore every tensor of the model is cut to one number; the number of tensors, on which
host time depends, stays. Runs take turns; medians of the CPU time of one thread are printed.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import timm
import torch
from timm.optim import param_groups_weight_decay
from timm.utils import ModelEmaV3
from torch import nn

from pillsnap.classification.average import Average
from pillsnap.training.safe_step import SafeStep, Statistics

DECAY, MAX_NORM, STEP = 0.998, 1.0, 1000

Part = tuple[str, Callable[[], object] | None, Callable[[], object] | None]  # name, before, now


def cut(model: nn.Module) -> nn.Module:
    """The model with one number in every parameter, gradient and buffer."""
    for parameter in model.parameters():
        parameter.data = parameter.data.flatten()[:1].clone()
        parameter.grad = torch.ones_like(parameter)
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = buffer.flatten()[:1].clone() if buffer.ndim else buffer
    return model


def optimizer_of(model: nn.Module) -> torch.optim.AdamW:
    """As the trainer builds it."""
    return torch.optim.AdamW(param_groups_weight_decay(model, 0.05), lr=1e-9, fused=True)


def parts(model: nn.Module) -> list[Part]:
    """What a step does apart from forward and backward."""
    old, new = ModelEmaV3(model, decay=DECAY, use_warmup=True), Average(model, DECAY)
    before, now = optimizer_of(model), optimizer_of(model)
    safe_step = SafeStep(model, now, torch.amp.GradScaler("cpu", enabled=False), MAX_NORM)
    statistics, finite = Statistics(model), torch.tensor(True)
    listed = list(model.parameters())
    clip = nn.utils.clip_grad_norm_

    def clip_and_step() -> None:
        clip(model.parameters(), MAX_NORM)
        before.step()

    return [
        ("model.train()", model.train, None),
        ("average", lambda: old.update(model, step=STEP), lambda: new.update(STEP)),
        ("clip", lambda: clip(model.parameters(), MAX_NORM), lambda: clip(listed, MAX_NORM)),
        ("optimizer", before.step, now.step),
        ("batch norms guarded", None, lambda: statistics.keep(finite)),
        ("clip, optimizer, guard as one", clip_and_step, safe_step),
    ]


def milliseconds(call: Callable[[], object] | None) -> float:
    """Of one call; 0 where there is none."""
    begun_s = time.thread_time()
    if call is not None:
        call()
    return (time.thread_time() - begun_s) * 1000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tf_efficientnetv2_s")
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = cut(timm.create_model(options.model, num_classes=1000))
    jobs = parts(model)
    runs = [[(milliseconds(b), milliseconds(n)) for _, b, n in jobs] for _ in range(options.rounds)]
    print(
        f"{options.model}: {len(model.state_dict())} tensors, {len(list(model.modules()))} modules"
    )
    print("| part of a step | before, ms | now, ms |\n|---|---|---|")
    for i, (name, *_) in enumerate(jobs):
        before, now = (statistics.median(run[i][side] for run in runs) for side in (0, 1))
        print(f"| {name} | {before:.2f} | {now:.2f} |")


if __name__ == "__main__":
    main()
