from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax

from make.made_answers import (
    CLASSES,
    NO_PILLS,
    crop_answers,
    fitted,
    frame_answer,
    made_centres,
    muddled,
)
from pillsnap.evaluation import fit, metrics
from pillsnap.evaluation.answers import FrameSet
from pillsnap.recognition import scores
from pillsnap.recognition.scores import Outputs

VAL = crop_answers(muddled, True, 1)
UNKNOWN = crop_answers(muddled, False, 2)
FEW = Outputs(UNKNOWN.logits[:10], UNKNOWN.embeddings[:10])
CENTRES = made_centres(np.eye(CLASSES, dtype=np.float32))


def test_scores_are_what_their_papers_define():
    pills = Outputs(np.log(np.array([[1.0, 2.0, 3.0]])), np.array([[0.6, 0.8]]))
    centres = made_centres(np.eye(2, dtype=np.float32))
    found = {score: scores.score_of(score, pills, centres, 1.0)[0] for score in scores.SCORES}
    expected = {"max_probability": 0.5, "energy": np.log(6.0), "mahalanobis": -0.4}
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(("unknown", "chosen"), [(UNKNOWN, True), (FEW, False), (NO_PILLS, False)])
def test_the_score_is_the_best_on_vals_unknown_pills_if_there_are_enough(unknown, chosen):
    fitted = fit.fit(VAL, unknown, CENTRES, 0.95, 0.01)
    assert fitted.chosen_on == ("val_unknown" if chosen else "default")
    assert fitted.score == (fit.best_of(fitted.compared) if chosen else "mahalanobis")
    assert (None in fitted.compared.values()) == (not len(unknown))
    passed = fitted.refusal_score(VAL) >= fitted.threshold
    shares = VAL.table.assign(passed=passed).groupby("image_type")["passed"].mean()
    assert pytest.approx(shares.min(), abs=0.03) == 0.95
    assert (shares >= 0.95).all()
    kinds = np.array(["single"] * 40 + ["combination"] * 10)  # too few combinations to tell
    values = np.arange(50.0)[::-1]
    assert fit.accepting(0.95, values, kinds) == 12.0
    assert fit.accepting(0.9, values[:40], kinds[:40]) == fit.accepting(0.9, values, kinds)
    assert fit.accepting(0.5, values[:20], kinds[:20]) == 40.0
    points = fitted.operating_points
    assert [point.known_recall for point in points] == [*fit.RECALLS[:7]]  # 60 combinations
    scored = fitted.refusal_score(VAL), VAL.table["image_type"].to_numpy(str)
    for point in points:
        assert point.threshold == fit.accepting(point.known_recall, *scored)
        assert fitted.at(point.known_recall).set_probability == point.set_probability > 0
    thresholds = [point.threshold for point in points]
    assert thresholds == sorted(thresholds, reverse=True) and len({*thresholds}) > 3
    assert fitted.at(0.95) == fitted.at(0.8).at(0.95) == fitted
    assert fit.best_of({"max_probability": 0.8, "energy": 0.9, "mahalanobis": 0.7}) == "energy"
    assert fit.best_of(dict.fromkeys(scores.SCORES)) == "max_probability"


def test_no_other_temperature_has_a_lower_loss_and_it_undoes_a_scaling_of_the_logits():
    def loss(temperature: float) -> float:
        chances = log_softmax(VAL.logits.astype(np.float64) / temperature, axis=1)
        return -chances[np.arange(len(VAL)), VAL.truth].mean()

    best = fit.fit_temperature(VAL.logits, VAL.truth)
    assert all(loss(best) <= loss(best * factor) for factor in (0.9, 0.99, 1.01, 1.1))
    assert fit.fit_temperature(VAL.logits * 3, VAL.truth) == pytest.approx(3 * best, rel=1e-4)


def test_cross_fitting_calibrates_and_never_uses_a_pills_own_group():
    right = VAL.logits.argmax(axis=1) == VAL.truth
    confidence = fit.cross_fitted(VAL.logits * 4, VAL.truth, VAL.groups, 0)
    before = metrics.ece(scores.confidences(VAL.logits * 4, 1.0), right)
    assert metrics.ece(confidence, right) < before / 2
    groups = np.array(["g"] * len(VAL), dtype=object)
    assert np.isnan(fit.cross_fitted(VAL.logits, VAL.truth, groups, 0)).all()
    logits = VAL.logits.copy()
    first = fit.cross_fitted(logits, VAL.truth, VAL.groups, 0)
    logits[VAL.groups == "g0"] *= 50
    second = fit.cross_fitted(logits, VAL.truth, VAL.groups, 0)
    unchanged = (first == second) & (VAL.groups != "g0")
    assert unchanged.sum() + 4 == len(VAL) // 2


def test_the_threshold_is_that_of_the_pills_as_the_detector_finds_them():
    made = fitted(VAL)
    answers = [frame_answer(index, "single", [0], [0]) for index in range(40)]
    scores = [np.array([index / 100]) for index in range(40)]
    frames = FrameSet(
        [replace(one, refusal_score=score) for one, score in zip(answers, scores, strict=True)]
    )
    moved = fit.at_frames(made, VAL, frames, 0.9, 0.01)
    assert (moved.threshold, moved.temperature) == (0.04, made.temperature)
    recalls = [point.known_recall for point in moved.operating_points]
    assert recalls == [0.8, 0.85, 0.9, 0.925, 0.95, 0.97]  # 40 pills support no 0.98
    odd = fit.at_frames(made, VAL, frames, 0.99, 0.01)  # that of params.yaml is always fitted
    assert (odd.known_recall, odd.threshold, len(odd.operating_points)) == (0.99, 0.0, 7)
    decided = [int(frame.predicted_class[0]) for frame in frames.decided(0.04).frames]
    assert decided == [-1] * 4 + [0] * 36
    assert fit.at_frames(made, VAL, FrameSet(frames.frames[:20]), 0.9, 0.01) is made
