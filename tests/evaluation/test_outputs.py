import subprocess

import orjson
import pytest

from make.made_answers import (
    OPTIONS,
    answers,
    class_table,
    fitted,
    frames,
    guesser,
    muddled,
    oracle,
    parrot,
)
from pillsnap.evaluation import evaluate, outputs
from pillsnap.params import load


@pytest.mark.parametrize("model", [oracle, guesser, parrot, muddled])
@pytest.mark.parametrize("found", [True, False])
def test_everything_is_measured_and_every_null_has_a_reason(model, found: bool) -> None:
    answered = answers(model, frames(found=found))
    made = fitted(answered.val)
    params = load().model_copy(update={"evaluate": OPTIONS})
    measured = evaluate.measure(params, answered, made, class_table(), ())
    for section in ("classification", "detection", "pipeline", "unknown"):
        tree = orjson.loads(orjson.dumps(measured[section]))  # NaN becomes null here
        empty = {key for key, value in tree.items() if value is None}
        assert empty == {key.removesuffix("_reason") for key in tree if key.endswith("_reason")}
    plots = outputs.plots(answered, made, class_table(), 5)
    assert b"null" not in orjson.dumps(plots)
    assert len(plots["worst_classes"]) == 5
    assert len(plots["pr_curve"]) == 101


def test_every_plot_has_the_row_for_nothing_with_its_own_columns() -> None:
    answered = answers(muddled, frames())
    plots = outputs.plots(answered, fitted(answered.val), class_table(), 5)
    columns = {name: set(rows[0]) for name, rows in plots.items()}
    assert columns == {name: set(row) for name, row in outputs.NOTHING.items()}


def test_a_repository_without_commits_has_no_revision(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert outputs._git_revision() is None
    subprocess.run(["git", "init", "-q"], check=True)
    assert outputs._git_revision() is None
