"""Objectives that might teach the classifier what it does not know, each against the plain recipe.

    python benchmarks/objectives.py [--epochs 9] [--seeds 17 18] [--only NAME ...] [--teacher FILE]

Made twins: an imprint is erased or exchanged with that of another pill of the batch, and the target
is uniform over all classes (outlier exposure, Hendrycks et al. 2019; the idea of twins from ASCOOD,
arXiv 2411.10794). Cosine and ArcFace heads (arXiv 1801.07698); sides as labels and a supervised
contrastive term (arXiv 2004.11362), as ePillID has them (arXiv 2005.14288). Teacher: cosines among
the pills of a batch follow those of a frozen network (arXiv 1904.05068); FILE holds the weights of
tf_efficientnet_lite0. Columns, and the remark on test, as in ablation.py.
"""

import argparse
import sys
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from ablation import compare
from one_training import Variant
from real_pills import network
from torch import nn

from pillsnap.classification import classifier
from pillsnap.classification.batches import CropDataset
from pillsnap.classification.trainer import Trainer, autocast

SCALE, MARGIN = 16.0, 0.2  # of the cosine logits
EXPOSED, EXPOSURE = 0.25, 0.5  # share of a batch that is made into twins, weight of their loss
CONTRAST, SHARPNESS = 0.5, 0.1  # weight and temperature of the contrastive term
TEACHING = 10.0  # weight of the teacher's term
SAME_COLOUR = 36.0  # grey levels from the middle's colour within which a pixel is of the pill


class CosineHead(nn.Module):
    """Logits as scaled cosines."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, features) * features**-0.5)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return SCALE * F.linear(
            F.normalize(features.float(), dim=1), F.normalize(self.weight, dim=1)
        )


class SidedHead(nn.Linear):
    """A class for each side while training; a code is as likely as its sides together."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        sides = super().forward(features)
        return sides if self.training else sides.view(len(sides), -1, 2).logsumexp(dim=2)


class SidedCrops(CropDataset):
    """Training crops labelled with code and side."""

    def __init__(self, path: Any, image_px: int, augmenter: Any, seed: int) -> None:
        super().__init__(path, image_px, augmenter, seed)
        if augmenter is not None:
            side = self._store.table["direction"].to_numpy()[self._rows] == 1
            self.classes = self.classes * 2 + side


def cosine(model: nn.Module) -> nn.Module:
    """The model with a CosineHead."""
    model.fc = CosineHead(model.fc.in_features, model.fc.out_features)  # type: ignore[union-attr]
    return model


def sided(model: nn.Module) -> nn.Module:
    """The model with a SidedHead."""
    model.fc = SidedHead(model.fc.in_features, 2 * model.fc.out_features)  # type: ignore[union-attr]
    return model


class Embedding(Trainer):
    """A trainer whose loss sees logits and embeddings."""

    def _loss(self, pictures: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        inputs = self.normalise(self.seen(pictures.to(self.plan.device)))
        with autocast(self.plan):
            logits, embeddings = classifier.embed(self.model, inputs)
        targets = classes.to(self.plan.device)
        return self.loss(inputs, logits.float(), embeddings, targets)

    def seen(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures that the network gets, the batch's first."""
        return pictures

    def loss(
        self,
        inputs: torch.Tensor,
        logits: torch.Tensor,
        embeddings: torch.Tensor,
        targets: torch.Tensor,
    ) -> torch.Tensor:
        """Cross-entropy."""
        smoothing = self.plan.recipe.label_smoothing
        return F.cross_entropy(logits[: len(targets)], targets, label_smoothing=smoothing)


class MadeTwins(Embedding):
    """Outlier exposure to pills whose imprint is erased or another one's."""

    def seen(self, pictures: torch.Tensor) -> torch.Tensor:
        count = round(EXPOSED * len(pictures))
        chosen = torch.randperm(len(pictures))[: 2 * count]
        own, other = pictures[chosen[:count]].float(), pictures[chosen[count:]].float()
        twins = low(own) + torch.rand(count, 1, 1, 1).round() * (other - low(other))
        inside = body(own)
        twins = (own * (1 - inside) + twins * inside).round().clamp(0, 255).to(pictures.dtype)
        return torch.cat([pictures, twins])

    def loss(self, inputs, logits, embeddings, targets):  # type: ignore[no-untyped-def]
        plain = super().loss(inputs, logits, embeddings, targets)
        twins = F.log_softmax(logits[len(targets) :], dim=1).mean(dim=1)
        return plain - EXPOSURE * twins.mean()


def low(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures [n, h, w, 3] without what is finer than an eighth of their width."""
    px = pictures.shape[1]
    size = px // 8 | 1
    padded = F.pad(pictures.permute(0, 3, 1, 2), [size // 2] * 4, mode="reflect")
    return F.avg_pool2d(padded, size, stride=1).permute(0, 2, 3, 1)


def body(pictures: torch.Tensor) -> torch.Tensor:
    """Where the pill is, by the colour of its middle: [n, h, w, 1], 0..1, soft at the edge."""
    px = pictures.shape[1]
    smooth, middle = low(pictures), px // 2
    around = smooth[:, middle - px // 8 : middle + px // 8, middle - px // 8 : middle + px // 8]
    colour = around.mean(dim=(1, 2), keepdim=True)
    far = (smooth - colour).abs().amax(dim=3, keepdim=True)
    return (1.5 - far / SAME_COLOUR).clamp(0, 1)


class ArcFace(Embedding):
    """An additive angular margin on the true class."""

    def loss(self, inputs, logits, embeddings, targets):  # type: ignore[no-untyped-def]
        cosines = (logits / SCALE).clamp(-1 + 1e-6, 1 - 1e-6)
        rows = torch.arange(len(targets))
        harder = logits.clone()
        harder[rows, targets] = SCALE * torch.cos(torch.acos(cosines[rows, targets]) + MARGIN)
        return super().loss(inputs, harder, embeddings, targets)


class Contrast(Embedding):
    """A supervised contrastive term."""

    def loss(self, inputs, logits, embeddings, targets):  # type: ignore[no-untyped-def]
        own = torch.eye(len(targets), dtype=torch.bool)
        alike = (embeddings @ embeddings.T / SHARPNESS).masked_fill(own, -1e9)
        same = (targets[:, None] == targets[None, :]) & ~own
        of_same = (alike.log_softmax(dim=1) * same).sum(dim=1) / same.sum(dim=1).clamp(min=1)
        contrast = -of_same[same.any(dim=1)].mean() if same.any() else 0.0
        return super().loss(inputs, logits, embeddings, targets) + CONTRAST * contrast


class Taught(Embedding):
    """Cosines among the pills of a batch as a frozen teacher has them."""

    def loss(self, inputs, logits, embeddings, targets):  # type: ignore[no-untyped-def]
        with torch.no_grad():
            seen = F.normalize(teacher()(inputs), dim=1)
            seen = F.normalize(seen - seen.mean(dim=0), dim=1)
        own = F.normalize(embeddings - embeddings.mean(dim=0), dim=1)
        apart = F.mse_loss(own @ own.T, seen @ seen.T)
        return super().loss(inputs, logits, embeddings, targets) + TEACHING * apart


@cache
def teacher() -> nn.Module:
    """The frozen network, whose answers are features."""
    model = network(Path(sys.argv[sys.argv.index("--teacher") + 1]))
    model.reset_classifier(0)  # type: ignore[operator]
    return model.eval()


VARIANTS = {
    "plain": Variant(),
    "no label smoothing": Variant({"label_smoothing": 0.0}),
    "made twins": Variant(trainer=MadeTwins),
    "cosine head": Variant(model=cosine, trainer=Embedding),
    "ArcFace": Variant(model=cosine, trainer=ArcFace),
    "sides as labels": Variant(model=sided, dataset=SidedCrops),
    "contrastive term": Variant(trainer=Contrast),
    "teacher": Variant(trainer=Taught),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", help="weights of tf_efficientnet_lite0")
    taught = "--teacher" in sys.argv
    compare({name: one for name, one in VARIANTS.items() if taught or name != "teacher"}, parser)
