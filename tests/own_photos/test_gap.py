import json
from pathlib import Path

import pytest

from make import bad_files
from make.bad_files import BAD_FILES
from pillsnap.own_photos import gap as gaps

PIPELINE = {
    "single": {"frame_exact": 0.75, "pill_f1": 0.5},
    "test": {"frame_exact": 0.5, "pill_f1": 0.25},
    "test_single": {"frame_exact": None, "frame_exact_reason": "no such frame"},
}
SINGLE = "data set 0.750 (pipeline.single.frame_exact of val: test has no such photos)"
PAIRS = "data set 0.250 (pipeline.test.pill_f1 of test)"
ALONE = "data set - (pipeline.test_single.frame_exact of test)"
NONE = {"frame_exact": None, "frame_exact_reason": "no pill found"}


@pytest.fixture
def metrics(tmp_path) -> Path:
    path = tmp_path / "evaluation.json"
    provenance = {"classification_sha256": "abc"}
    path.write_text(json.dumps({"pipeline": PIPELINE, "provenance": provenance}))
    return path


@pytest.mark.parametrize(
    ("kind", "own", "expected"),
    [
        ("single", {"frame_exact": 0.875}, f"0.875, {SINGLE}, gap +0.125"),
        ("combination", {"pill_f1": 0.125}, f"0.125, {PAIRS}, gap -0.125"),
        ("unknown", {"frame_exact": 0.5}, f"{ALONE}, no gap: no such frame"),
        ("single", NONE, f"-, {SINGLE}, no gap: no pill found"),
        ("combination", {"pill_recall": 0.5}, "evaluation.json does not hold it"),
    ],
)
def test_each_metric_is_compared_with_its_like_or_has_a_reason(
    metrics, kind, own, expected
) -> None:
    [line] = gaps.lines({kind: own}, metrics, "abc")
    assert line.startswith(f"  {next(iter(own))} of {gaps.LIKE[kind].photos}: ")
    assert line.endswith(expected)
    [line] = gaps.lines({kind: own}, metrics, "another")
    assert "another classifier: dvc repro evaluate" in line


@pytest.mark.parametrize("form", BAD_FILES)
def test_without_metrics_the_reason_says_how_to_make_them(tmp_path, form: str) -> None:
    path = bad_files.put(form, tmp_path / "evaluation.json")
    [line] = gaps.lines({"single": {"frame_exact": 0.5}}, path, "abc")
    assert "no gap: " in line
    assert "dvc repro" in line
