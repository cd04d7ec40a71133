"""Run by torchrun: ranks share one step; each keeps what it then has in <folder>/<rank>.pt."""

import sys
from pathlib import Path

import torch
from torch import nn

from pillsnap.training import ranks
from pillsnap.training.ranks import Ranks

SAMPLES = 5


def step(group: Ranks) -> dict[str, torch.Tensor]:
    """The gradient of a mean over the whole batch, and a batch norm's running mean."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"line": nn.Linear(4, 3), "norm": nn.BatchNorm1d(4)})
    inputs = torch.randn(SAMPLES, 4)[group.part(SAMPLES)]
    model["norm"](inputs)  # in no gradient
    loss = model["line"](inputs).square().mean(1).sum() / SAMPLES
    loss.backward()
    loss = loss.detach()
    group.share(model, len(inputs) / SAMPLES, loss)
    return {"gradient": model["line"].weight.grad, "mean": model["norm"].running_mean, "loss": loss}


if __name__ == "__main__":
    with ranks.joined(2, torch.device("cpu")) as group:
        torch.save(step(group), Path(sys.argv[1]) / f"{group.rank}.pt")
