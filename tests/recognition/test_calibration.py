from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from make.made_answers import crop_answers, fitted, muddled, oracle
from pillsnap import files
from pillsnap.errors import CheckpointError
from pillsnap.recognition import calibration, scores

ZEROS = "AAAAAAAAAAAAAAAA"
FLAT = {"shape": [1, 3], "float32_base64": ZEROS}
VAL = crop_answers(muddled, True, 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A saved calibration of the classifier `aa`."""
    calibration.save(tmp_path / "a.json", made())
    return tmp_path / "a.json"


def made() -> calibration.Calibration:
    return replace(fitted(VAL), classification_sha256="aa", class_table_hash="bb")


def test_a_pill_of_no_allowed_class_scores_low():
    known = crop_answers(oracle, True, 1)
    for score in scores.SCORES:
        values = replace(fitted(known), score=score).refusal_score(known, np.array([2, 3]))
        assert values[np.isin(known.truth, [2, 3])].min() > values[known.truth == 5].max(), score


def test_a_saved_calibration_comes_back_unless_it_was_changed_or_is_of_another_classifier(path):
    calibration.save(path.with_name("b.json"), made())
    read, wanted = calibration.load(path, "aa"), made()
    assert path.read_bytes() == path.with_name("b.json").read_bytes()
    for name in ("means", "spread"):
        assert (getattr(read.centres, name) == getattr(wanted.centres, name)).all()
    assert replace(read, centres=wanted.centres) == wanted
    with pytest.raises(CheckpointError, match="another classifier"):
        calibration.load(path, "cc")
    path.write_text(path.read_text().replace('"temperature": ', '"temperature": 1'))
    with pytest.raises(CheckpointError, match="sha256") as refusal:
        calibration.load(path, "aa")
    assert refusal.value.cure == "Fit it again: dvc repro -f -s evaluate"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("temperature", "warm"),
        ("temperature", 0.0),
        ("score", "height"),
        ("centres", []),
        ("centres", {"means": {"shape": [2, 2, 3], "float32_base64": "AAAA"}, "spread": FLAT}),
        ("centres", {"means": FLAT, "spread": FLAT}),
        ("centres", {"means": {"shape": [1, 1, 3], "float32_base64": ZEROS}, "spread": FLAT}),
        ("centres", {"means": {"shape": [1, 2, 0], "float32_base64": ""}, "spread": 7}),
        ("compared", 1),
        ("detection_iou", 2.0),
        ("known_recall", 2.0),
        ("operating_points", []),
        ("operating_points", [{"known_recall": 0.9, "threshold": "low", "set_probability": 0.1}]),
        ("operating_points", [{"known_recall": -1, "threshold": 0.0, "set_probability": 0.1}]),
    ],
)
def test_a_sealed_value_of_another_kind_is_refused(path, key, value):
    files.write_sealed_json(path, files.read_sealed_json(path, "") | {key: value})
    with pytest.raises(CheckpointError, match=rf"a\.json: {key}"):
        calibration.load(path, "aa")
    files.write_sealed_json(path, {key: value})
    with pytest.raises(CheckpointError, match="another version"):
        calibration.load(path, "aa")
