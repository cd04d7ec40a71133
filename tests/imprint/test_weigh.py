import numpy as np
import pytest

from pillsnap.imprint.weigh import Ratios, weighed


@pytest.mark.parametrize(
    ("chances", "verdicts", "expected"),
    [
        ([0.6, 0.3], ["contradicts", "agrees"], [0.15 / 0.85, 0.6 / 0.85]),  # 0.1 is elsewhere
        ([0.5, 0.5], ["unsure", "unsure"], [0.5, 0.5]),
        ([1.0, 0.0], ["contradicts", "agrees"], [1.0, 0.0]),
    ],
)
def test_probabilities_are_multiplied_by_the_ratio_of_the_verdict(chances, verdicts, expected):
    found = weighed(np.array([chances]), np.array([verdicts]), Ratios(2.0, 1.0, 0.25))
    assert found[0].tolist() == pytest.approx(expected)
