import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax

from make import bad_files
from make.bad_files import BAD_FILES
from make.made_answers import crop_answers, fitted, muddled, oracle
from pillsnap import files
from pillsnap.errors import CheckpointError
from pillsnap.evaluation import fit, metrics
from pillsnap.recognition import calibration, scores

VAL = crop_answers(muddled, True, 1)


def loss(temperature: float) -> float:
    chances = log_softmax(VAL.logits.astype(np.float64) / temperature, axis=1)
    return -chances[np.arange(len(VAL)), VAL.truth].mean()


def saved(path: Path) -> calibration.Calibration:
    made = replace(fitted(VAL), classification_sha256="aa", class_table_hash="bb")
    calibration.save(path, made)
    return made


def test_no_other_temperature_has_a_lower_loss() -> None:
    best = fit.fit_temperature(VAL.logits, VAL.truth)
    assert all(loss(best) <= loss(best * factor) for factor in (0.9, 0.99, 1.01, 1.1))


def test_a_temperature_undoes_a_scaling_of_the_logits() -> None:
    plain = fit.fit_temperature(VAL.logits, VAL.truth)
    scaled = fit.fit_temperature(VAL.logits * 3, VAL.truth)
    assert scaled == pytest.approx(3 * plain, rel=1e-4)


def test_scaling_brings_overconfident_probabilities_near_their_accuracy() -> None:
    right = VAL.logits.argmax(axis=1) == VAL.truth
    confidence = fit.cross_fitted(VAL.logits * 4, VAL.truth, VAL.groups, 0)
    before = metrics.ece(scores.confidences(VAL.logits * 4, 1.0), right)
    assert metrics.ece(confidence, right) < before / 2


def test_cross_fitting_never_uses_a_pills_own_group() -> None:
    logits = VAL.logits.copy()
    first = fit.cross_fitted(logits, VAL.truth, VAL.groups, 0)
    logits[VAL.groups == "g0"] *= 50
    second = fit.cross_fitted(logits, VAL.truth, VAL.groups, 0)
    unchanged = (first == second) & (VAL.groups != "g0")
    half = unchanged.sum() + 4
    assert half == len(VAL) // 2


def test_one_group_cannot_be_cross_fitted() -> None:
    groups = np.array(["g"] * len(VAL), dtype=object)
    assert np.isnan(fit.cross_fitted(VAL.logits, VAL.truth, groups, 0)).all()


def test_the_threshold_accepts_the_wanted_share_of_known_pills() -> None:
    made = fitted(VAL)
    passed = made.refusal_score(VAL.outputs) >= made.threshold
    assert passed.sum() == 0.95 * len(VAL)


def test_a_pill_of_no_allowed_class_scores_low() -> None:
    known = crop_answers(oracle, True, 1)
    for score in scores.SCORES:
        made = replace(fitted(known), score=score)
        values = made.refusal_score(known.outputs, np.array([2, 3]))
        assert values[np.isin(known.truth, [2, 3])].min() > values[known.truth == 5].max(), score


def test_normalised_rows_have_length_one_and_empty_classes_stay_zero() -> None:
    rows = calibration.normalised(np.array([[3.0, 4.0], [0.0, 0.0]]))
    assert rows.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0.0, 0.0]]


def test_a_saved_calibration_comes_back_and_equal_ones_give_equal_bytes(tmp_path: Path) -> None:
    made = saved(tmp_path / "a.json")
    saved(tmp_path / "b.json")
    read = calibration.load(tmp_path / "a.json", "aa")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert (read.class_means == made.class_means).all()
    assert replace(read, class_means=made.class_means) == made


def test_a_missing_calibration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is missing"):
        calibration.load(tmp_path / "a.json", "aa")


def test_a_calibration_of_another_classifier_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "a.json")
    with pytest.raises(CheckpointError, match="another classifier"):
        calibration.load(tmp_path / "a.json", "cc")


def test_a_changed_number_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    saved(path)
    path.write_text(path.read_text().replace('"threshold": 0.', '"threshold": 0.1'))
    with pytest.raises(CheckpointError, match="sha256"):
        calibration.load(path, "aa")


def test_a_truncated_calibration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    saved(path)
    path.write_text(path.read_text()[:-40])
    with pytest.raises(CheckpointError, match="is not JSON") as refusal:
        calibration.load(path, "aa")
    assert refusal.value.cure == "Fit it again: dvc repro -f evaluate"


def test_a_calibration_with_other_fields_is_refused(tmp_path: Path) -> None:
    files.write_sealed_json(tmp_path / "a.json", {"temperature": 1.0})
    with pytest.raises(CheckpointError, match="another version"):
        calibration.load(tmp_path / "a.json", "aa")


@pytest.mark.parametrize("form", BAD_FILES)
def test_a_bad_file_is_refused(tmp_path: Path, form: str) -> None:
    path = bad_files.put(form, tmp_path / "a.json")
    with pytest.raises(CheckpointError) as refusal:
        calibration.load(path, "aa")
    assert str(path) in refusal.value.fact


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("temperature", "warm"),
        ("temperature", 0.0),
        ("score", "height"),
        ("class_means", []),
        ("class_means", {"shape": [2, 3], "float32_base64": "AAAA"}),
        ("class_means", {"shape": [3], "float32_base64": "AAAAAAAAAAAAAAAA"}),
        ("compared", 1),
        ("detection_iou", 2.0),
    ],
)
def test_a_sealed_value_of_another_kind_is_refused(tmp_path: Path, key: str, value) -> None:
    path = tmp_path / "a.json"
    saved(path)
    files.write_sealed_json(path, files.read_sealed_json(path, "") | {key: value})
    with pytest.raises(CheckpointError, match=rf"a\.json: {key}"):
        calibration.load(path, "aa")


def test_a_calibration_of_before_the_shared_seal_still_loads(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    made = saved(path)
    tree = json.loads(path.read_text())
    del tree["sha256"]
    digest = hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({**tree, "sha256": digest}, indent=1, sort_keys=True) + "\n")
    assert calibration.load(path, "aa").threshold == made.threshold
