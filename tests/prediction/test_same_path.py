"""predict's answers for the frames of test give the metrics that evaluate wrote for them."""

import json
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
import typer

from make import evaluated_project
from make.drawn_models import BLUE, GREEN, RED, STRANGE, ColourClassifier, SquareDetector
from pillsnap import cli_use
from pillsnap.classification import classifier
from pillsnap.dataset.frames import FrameStore
from pillsnap.detection import detector
from pillsnap.evaluation import sections
from pillsnap.evaluation.answers import FrameAnswer, FrameSet
from pillsnap.own_photos import by_label
from pillsnap.own_photos.by_label import LabelledPhoto
from pillsnap.params import load
from pillsnap.places import Places
from pillsnap.recognition.recogniser import Pill

HIDDEN = (90, 90, 90)  # the colour of the background: a pill that no detector can find
LEFT, RIGHT, LOW = (20, 30, 60), (150, 40, 70), (110, 120, 65)
PHOTOS = {
    "alone.jpg": [((*LEFT, STRANGE), -1)],
    "taken for known.jpg": [((*LEFT, RED), -1)],
    "both.jpg": [((*LEFT, RED), 0), ((*RIGHT, GREEN), 1)],
    "one refused.jpg": [((*LEFT, STRANGE), 0), ((*RIGHT, GREEN), 1)],
    "one wrong.jpg": [((*LEFT, RED), 0), ((*RIGHT, BLUE), 1)],
    "one missed.jpg": [((*LEFT, HIDDEN), 0), ((*RIGHT, GREEN), 1)],
    "one too many.jpg": [((*LEFT, RED), 0), ((*RIGHT, GREEN), 1), ((*LOW, BLUE), None)],
}


@pytest.fixture
def project(tmp_path, monkeypatch) -> Places:
    """A project that evaluate measured with models that see colours."""
    folder = tmp_path / "project"
    places = evaluated_project.lay(folder)
    evaluated_project.write_frames(places.data_dir / "frames/test.arrow", PHOTOS)
    boxes, colours = SquareDetector(), ColourClassifier()
    boxes.config = {"architecture": "squares"}
    colours.config |= {"architecture": "colours", "image_px": 24}
    monkeypatch.setattr(detector, "load", lambda *_: boxes)
    monkeypatch.setattr(classifier, "load", lambda *_: colours)
    evaluated_project.evaluate(folder)
    return places


def predicted(places: Places, photo_dir: Path, capsys) -> list[FrameAnswer]:
    """Test's frames as files through `pillsnap predict --json`, with their labels."""
    store = FrameStore(places.frames("test"))
    index_of = {f"K-{index:06d}": index for index in range(4)}
    photo_dir.mkdir()
    for label, jpeg in zip(store.labels, store.arrow.column("jpeg"), strict=True):
        (photo_dir / label.image_path).write_bytes(jpeg.as_py())
    with chdir(places.artifacts_dir.parent.parent), pytest.raises(typer.Exit) as end:
        cli_use.predict([str(photo_dir)], top=3, as_json=True, device="cpu")
    assert end.value.exit_code == 0
    found = []
    printed = sorted(json.loads(capsys.readouterr().out), key=lambda tree: tree["path"])
    labels = sorted(store.labels, key=lambda label: label.image_path)
    for label, tree in zip(labels, printed, strict=True):
        pills = [Pill(**pill) for pill in tree["pills"]]
        photo = LabelledPhoto(Path(label.image_path), label.codes, label.box, (300, 200))
        iou = load(places.artifacts_dir.parent.parent / "params.yaml").evaluate.match_iou
        answer = by_label.frame_answer(photo, pills, index_of, iou)
        found.append(replace(answer, group_id=label.group_id, seconds=0.0))
    return found


def test_predict_gives_the_metrics_of_evaluate_for_the_frames_of_test(
    project, tmp_path, capsys
) -> None:
    measured = json.loads((project.artifacts_dir / "evaluation.json").read_text())["pipeline"]
    frames = FrameSet(predicted(project, tmp_path / "photos", capsys))
    for section, kind in (("test", "combination"), ("test_single", "single")):
        made = sections.pipeline_of(frames, frames.rows(kind))
        again, expected = orjson.loads(orjson.dumps(made)), measured[section]
        # predict prints no times, and by_label keeps no candidates of refused pills
        for other in ("ms_per_frame_p50", "ms_per_frame_p95", "pill_f1_unrefused"):
            del again[other], expected[other]
        again.pop("pill_f1_unrefused_reason", None)
        assert again == expected
    errors = measured["test"]["errors"]
    assert all(errors[name] for name in ("wrong_name", "known_refused", "missed", "false_box"))
    assert measured["test_single"]["errors"]["unknown_taken_for_known"] == 1
    assert 0 < measured["test"]["frame_exact"] < 1
