"""What a pill counts in the classifier's loss, so that rare classes are not drowned."""

import numpy as np
import torch

from pillsnap.arrays import Ints
from pillsnap.params import TrainClassificationParams


def of(recipe: TrainClassificationParams, rows: Ints, classes: int) -> torch.Tensor | None:
    """Weight of each class, [classes] float32, of mean 1 over the rows; None: all count alike.

    `rows` are the class indices of the train rows. balanced: 1 / n. effective: the inverse of the
    effective number of samples, (1 - beta) / (1 - beta^n) (Cui et al. 2019, arXiv 1901.05555).
    """
    if recipe.class_weights == "none":
        return None
    counts = np.maximum(np.bincount(rows, minlength=classes), 1).astype(np.float64)
    if recipe.class_weights == "balanced":
        weights = 1 / counts
    else:
        weights = (1 - recipe.class_weight_beta) / (1 - recipe.class_weight_beta**counts)
    return torch.from_numpy((weights / weights[rows].mean()).astype(np.float32))
