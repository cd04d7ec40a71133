"""What a pill counts by the size of its class."""

import numpy as np
import pytest

from make.import_graph import ROOT
from pillsnap import params
from pillsnap.classification import class_weights

RECIPE = params.load(ROOT / "params.yaml").train_classification
ROWS = np.repeat([0, 1, 2], [100, 10, 1])


def weights(kind, beta=0.99):
    recipe = RECIPE.model_copy(update={"class_weights": kind, "class_weight_beta": beta})
    return class_weights.of(recipe, ROWS, 3)


def test_all_count_alike_unless_asked():
    assert RECIPE.class_weights == "none"
    assert class_weights.of(RECIPE, ROWS, 3) is None


@pytest.mark.parametrize("kind", ["balanced", "effective"])
def test_the_mean_over_rows_is_one(kind):
    assert weights(kind).numpy()[ROWS].mean() == pytest.approx(1)


def test_balanced_classes_count_alike_in_sum():
    sums = weights("balanced").numpy() * [100, 10, 1]
    assert sums == pytest.approx([sums[0]] * 3)


def test_effective_numbers_are_those_of_the_paper():
    found = weights("effective").numpy()
    inverse = np.array([(1 - 0.99) / (1 - 0.99**n) for n in (100, 10, 1)])
    assert found / found[0] == pytest.approx(inverse / inverse[0], rel=1e-5)


def test_a_class_without_rows_has_a_finite_weight():
    recipe = RECIPE.model_copy(update={"class_weights": "balanced"})
    assert np.isfinite(class_weights.of(recipe, ROWS, 4).numpy()).all()
