"""The section `sets`: an oracle needs one name, a guesser many, and both are covered."""

import pytest

from make import made_answers as fake
from pillsnap.evaluation import set_coverage


@pytest.mark.parametrize(("model", "names"), [(fake.oracle, (1, 1)), (fake.guesser, (5, 10))])
def test_coverage_and_size_of_many_groups_and_none_of_a_single_one(model, names):
    answers = fake.crop_answers(model, True, 3)
    section = set_coverage.measure(answers, fake.fitted(answers), 0.05, 17)
    assert section["coverage"] >= 0.9
    assert names[0] <= section["names_per_pill"] <= names[1]
    pills = sum(section[kind]["pills"] for kind in ("single", "combination"))
    assert pills == section["pills"] > 0
    assert section["ci"]["coverage"].low < section["coverage"]
    one = answers.where(answers.groups == answers.groups[0])
    section = set_coverage.measure(one, fake.fitted(answers), 0.05, 17)
    assert section["coverage"] is None
    assert "two capture groups" in section["coverage_reason"]
