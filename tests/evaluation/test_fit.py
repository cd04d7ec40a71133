import numpy as np
import pytest

from make.made_answers import CLASSES, crop_answers, muddled, oracle
from pillsnap.evaluation import fit, metrics
from pillsnap.recognition import scores
from pillsnap.recognition.scores import Outputs

VAL = crop_answers(muddled, True, 1)
MEANS = np.eye(CLASSES, dtype=np.float32)


@pytest.mark.parametrize("score", scores.SCORES)
def test_every_score_ranks_known_pills_above_unknown_ones(score: str) -> None:
    known, unknown = crop_answers(oracle, True, 1), crop_answers(oracle, False, 2)
    sides = [scores.score_of(score, a.outputs, MEANS, 1.0) for a in (known, unknown)]
    assert metrics.auroc(*sides) > 0.95


def test_energy_is_the_logarithm_of_the_summed_exponentials() -> None:
    pills = Outputs(np.log(np.array([[1.0, 2.0, 3.0]])), np.ones((1, 2)))
    assert scores.score_of("energy", pills, MEANS, 1.0) == pytest.approx(np.log(6.0))


def test_class_mean_is_the_cosine_to_the_nearest_mean() -> None:
    pills = Outputs(np.zeros((1, 2)), np.array([[0.6, 0.8]]))
    means = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    assert scores.score_of("class_mean", pills, means, 1.0) == pytest.approx(0.8)


def test_a_left_out_class_is_recognised_without_its_logits() -> None:
    compared = fit.left_out(VAL.outputs, VAL.truth, MEANS, 1.0, 0)
    assert set(compared) == set(scores.SCORES)
    assert all(value > 0.6 for value in compared.values())


def test_one_class_cannot_be_left_out() -> None:
    truth = np.zeros(len(VAL), dtype=np.int64)
    assert set(fit.left_out(VAL.outputs, truth, MEANS, 1.0, 0).values()) == {None}


def test_every_stand_in_is_compared() -> None:
    stand_ins = {"glued": crop_answers(muddled, False, 2).outputs, "val_unknown": empty()}
    compared = fit.compare(VAL.outputs, VAL.truth, stand_ins, MEANS, 1.0, 0)
    assert set(compared) == set(fit.STAND_INS)
    assert set(compared["val_unknown"].values()) == {None}
    assert compared["glued"]["energy"] > 0.5


def test_unknown_pills_of_val_come_before_glued_ones_and_those_before_left_out() -> None:
    many = crop_answers(muddled, False, 2).outputs
    few = Outputs(many.logits[:10], many.embeddings[:10])
    assert fit.chosen_on({"val_unknown": many, "glued": many}) == "val_unknown"
    assert fit.chosen_on({"val_unknown": few, "glued": many}) == "glued"
    assert fit.chosen_on({"val_unknown": empty(), "glued": few}) == "left_out"


def test_the_best_score_is_kept_and_the_first_on_a_tie() -> None:
    assert fit.best_of({"max_probability": 0.8, "energy": 0.9, "class_mean": 0.7}) == "energy"
    assert fit.best_of(dict.fromkeys(scores.SCORES)) == "max_probability"


def test_the_calibration_has_the_score_that_is_best_on_its_stand_in() -> None:
    unknown = crop_answers(muddled, False, 2).outputs
    fitted = fit.fit(VAL.outputs, VAL.truth, {"glued": unknown}, MEANS, 0.95, 0)
    assert fitted.chosen_on == "glued"
    assert fitted.score == fit.best_of(fitted.compared["glued"])


@pytest.mark.parametrize("score", scores.SCORES)
def test_no_pills_have_no_scores(score: str) -> None:
    none = Outputs(np.empty((0, CLASSES)), np.empty((0, 1)))
    assert scores.score_of(score, none, MEANS, 1.0).shape == (0,)


def empty() -> Outputs:
    return Outputs(np.empty((0, CLASSES)), np.empty((0, CLASSES)))
