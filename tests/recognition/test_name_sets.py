import numpy as np
import pytest

from pillsnap.recognition import name_sets


def drawn(rng, pills, classes=24):
    """Calibrated probabilities [n, classes] and true classes drawn from them."""
    logits = rng.gumbel(size=(pills, classes)) * rng.uniform(1, 4, (pills, 1))
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    return chances, (chances.cumsum(axis=1) < rng.random((pills, 1))).sum(axis=1)


@pytest.mark.parametrize(("risk", "pills"), [(0.01, 300), (0.05, 300), (0.05, 60), (0.2, 40)])
def test_the_true_class_is_missed_as_rarely_as_promised(risk, pills):
    rng = np.random.default_rng(17)
    covered = []
    for _ in range(300):
        chances, truth = drawn(rng, pills)
        least = name_sets.limit(chances[np.arange(pills), truth], risk)
        chances, truth = drawn(rng, 200)
        covered.append(name_sets.members(chances, least)[np.arange(200), truth].mean())
    error = np.std(covered) / np.sqrt(len(covered))
    assert 1 - risk - 3 * error < np.mean(covered) < 1 - risk + 1 / (pills + 1) + 3 * error


def test_few_pills_promise_what_they_can_and_the_likeliest_class_is_always_inside():
    assert name_sets.limit(np.array([0.9, 0.2, 0.6]), 0.01) == 0.2
    assert name_sets.limit(np.empty(0), 0.01) == 0.0
    inside = name_sets.members(np.array([[0.2, 0.5, 0.3], [0.9, 0.06, 0.04]]), 0.6)
    assert inside.tolist() == [[False, True, False], [True, False, False]]
