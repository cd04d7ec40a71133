"""Centres of the classes among the embeddings, and how much like a class a pill looks.

The likeness is minus a Mahalanobis distance (Lee et al. 2018): a difference counts less in the
directions in which pills of one class differ among themselves, by light, background or turn.
"""

import base64
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import PlainValidator

from pillsnap.arrays import Floats, Floats32, Ints

SIDES = 2  # centres of a class: front and back
DIRECTIONS = 64  # of spread that are kept; 16 to 96 gave the same AUROC on drawn pills (+-0.01)
SHRINKAGE = 0.1  # of the covariance to a sphere; 0.05 to 0.3 gave the same AUROC (+-0.01)
FARTHEST = 4.0  # squared distance of opposite embeddings: that of a class without pills


def decoded(tree: Any) -> Floats32:
    """An array as `encoded` writes it."""
    content, shape = base64.b64decode(tree["float32_base64"]), tree["shape"]
    return np.frombuffer(content, "<f4").reshape(shape).astype(np.float32)


def encoded(array: Floats) -> dict[str, Any]:
    """An array as plain JSON."""
    content = base64.b64encode(array.astype("<f4").tobytes()).decode()
    return {"shape": list(array.shape), "float32_base64": content}


def _means(tree: Any) -> Floats32:
    try:
        means = decoded(tree)
        _, sides, _ = means.shape
    except (TypeError, LookupError, ValueError):
        raise ValueError("no centres of classes") from None
    if sides != SIDES:
        raise ValueError(f"{sides} centres a class instead of {SIDES}")
    return means


def _spread(tree: Any) -> Floats32:
    try:
        spread = decoded(tree)
        _, _ = spread.shape
    except (TypeError, LookupError, ValueError):
        raise ValueError("no directions of spread") from None
    return spread


@dataclass(frozen=True, eq=False)
class Centres:
    """The two centres of each class, and the spread that its pills have around them."""

    means: Annotated[Floats32, PlainValidator(_means)]  # [classes, SIDES, d], of length 1, or 0
    spread: Annotated[Floats32, PlainValidator(_spread)]  # [k, d], each shorter than 1

    def __len__(self) -> int:
        return len(self.means)

    def of(self, classes: Ints) -> "Centres":
        """Those of some classes."""
        return Centres(self.means[classes], self.spread)

    def joined(self, means: Floats32) -> "Centres":
        """With further classes, [n, SIDES, d]."""
        return Centres(np.concatenate([self.means, means]), self.spread)

    def likeness(self, embeddings: Floats) -> Floats32:
        """Minus the squared distance to the nearer centre of each class, [n, d] -> [n, classes]."""
        flat, narrow_flat, theirs = self._flat
        narrow = embeddings @ self.spread.T
        own = (embeddings**2).sum(axis=1) - (narrow**2).sum(axis=1)
        likeness = 2 * (embeddings @ flat.T - narrow @ narrow_flat.T) - own[:, None] - theirs
        likeness[:, ~flat.any(axis=1)] = -FARTHEST
        by_class = likeness.reshape(len(embeddings), len(self), SIDES)
        return np.asarray(by_class.max(axis=2), np.float32)

    @cached_property
    def _flat(self) -> tuple[Floats32, Floats32, Floats32]:
        """What `likeness` needs of the centres: all of them [m, d], in the directions of spread
        [m, k], and their squares [m]; once for many pills."""
        flat = self.means.reshape(-1, self.means.shape[2])
        narrow = flat @ self.spread.T
        return flat, narrow, (flat**2).sum(axis=1) - (narrow**2).sum(axis=1)

    def between(self) -> Floats32:
        """Likeness of each class's nearer centre to every other class, [classes, classes]."""
        flat = self.likeness(self.means.reshape(-1, self.means.shape[2]))
        likeness = flat.reshape(len(self), SIDES, len(self)).max(axis=1)
        likeness[~self.means.any(axis=(1, 2))] = -FARTHEST
        np.fill_diagonal(likeness, -np.inf)
        return np.asarray(likeness, np.float32)


def fitted(sums: Floats, counts: NDArray[np.float64], squares: Floats) -> Centres:
    """From sums over the embeddings of pills: by class and side [classes, SIDES, d], their numbers
    [classes, SIDES], and of the outer products [d, d]. A side without pills is as the other."""
    size = len(squares)
    means = sums / np.maximum(counts, 1)[:, :, None]
    within = squares - sums.reshape(-1, size).T @ means.reshape(-1, size)
    within /= max(counts.sum(), 1)
    sphere = np.trace(within) / size * np.eye(size)
    values, vectors = np.linalg.eigh((1 - SHRINKAGE) * within + SHRINKAGE * sphere)
    values = np.maximum(values, np.finfo(np.float64).tiny)  # ascending
    kept = min(DIRECTIONS, size - 1)
    narrowed = 1 - values[: size - kept].mean() / values[size - kept :]
    spread = np.sqrt(np.maximum(narrowed, 0))[:, None] * vectors.T[size - kept :]
    other = np.where((counts > 0)[:, :, None], means, means[:, ::-1])
    return Centres(normalised(other), spread.astype(np.float32))


def normalised(rows: Floats) -> Floats32:
    """[..., d] of length 1; a row of zeros (a class without pills) stays."""
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, 1.0), dtype=np.float32)
