"""The section `sets`: an oracle needs one name, a guesser many, and both are covered."""

import pytest

from make import made_answers
from pillsnap.evaluation import set_coverage


def measured(model, seed=3):
    answers = made_answers.crop_answers(model, known=True, seed=seed)
    return set_coverage.measure(answers, made_answers.fitted(answers), 0.05, 17)


@pytest.mark.parametrize(("model", "names"), [("oracle", (1, 1)), ("guesser", (5, 10))])
def test_coverage_and_size(model, names):
    section = measured(getattr(made_answers, model))
    assert section["coverage"] >= 0.9
    assert names[0] <= section["names_per_pill"] <= names[1]
    pills = sum(section[kind]["pills"] for kind in ("single", "combination"))
    assert pills == section["pills"] > 0
    assert section["ci"]["coverage"].low < section["coverage"]


def test_a_single_group_has_no_coverage():
    answers = made_answers.crop_answers(made_answers.oracle, known=True, seed=3)
    one = answers.where(answers.groups == answers.groups[0])
    section = set_coverage.measure(one, made_answers.fitted(answers), 0.05, 17)
    assert section["coverage"] is None
    assert "two capture groups" in section["coverage_reason"]
