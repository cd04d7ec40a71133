from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from make.crop_files import write_store
from make.drawn_models import BLUE, GREEN, RED, STRANGE, ColourClassifier, classes, recogniser
from make.evaluated_project import write_frames
from pillsnap.dataset import pixels
from pillsnap.dataset.crops import SCHEMA, CropStore
from pillsnap.dataset.frames import FrameStore
from pillsnap.evaluation import inference, tables
from pillsnap.stage.log import RunLog

PHOTOS = {
    "a.png": [((20, 30, 60, RED), 0)],
    "b.png": [((150, 40, 50, GREEN), 1), ((30, 60, 70, STRANGE), -1)],
    "c.png": [((150, 40, 50, BLUE), 0)],
}


@pytest.fixture
def frames(tmp_path: Path) -> FrameStore:
    write_frames(tmp_path / "frames.arrow", PHOTOS)
    return FrameStore(tmp_path / "frames.arrow")


@pytest.fixture
def store(tmp_path) -> CropStore:
    pills = [(RED, 0), (RED, 0), (GREEN, 1), (STRANGE, -1)]
    empty = {field.name: "" if field.type == "string" else 0 for field in SCHEMA}
    rows = [{**empty, "class_index": index, "known": index >= 0} for _, index in pills]
    jpegs = [pixels.encode(np.full((24, 24, 3), colour, np.uint8), 95) for colour, _ in pills]
    write_store(tmp_path / "crops.arrow", pd.DataFrame(rows), jpegs)
    return CropStore(tmp_path / "crops.arrow")


@pytest.fixture
def log(tmp_path: Path) -> RunLog:
    (tmp_path / "live").mkdir()
    return RunLog("evaluate", tmp_path / "live", "ERROR")


def test_frames_are_read_as_the_recogniser_reads_them(frames, log):
    answers = inference.read_frames(recogniser(), frames, 0.5, log)
    assert (answers.frames[1].group_id, answers.frames[1].image_type) == ("b.png", "combination")
    outcomes = [answer.match.predicted for answer in answers.frames]
    assert outcomes == [["right"], ["right", "right"], ["wrong_name"]]
    assert all(answer.seconds > 0 for answer in answers.frames)
    table = tables.pills("val", answers, classes())
    assert table["outcome"].tolist() == [*["right"] * 3, "wrong_name"]
    assert table["code"].tolist() == ["K-000000", "", "K-000001", "K-000002"]
    assert table["refused"].tolist() == [False, True, False, False]
    tool = recogniser()
    tool.calibration = replace(tool.calibration, detection_confidence=0.65)
    answer = inference.read_frames(tool, frames, 0.5, log).frames[1]
    assert (len(answer.found), len(answer.predicted)) == (2, 1)  # also under the operating point
    measured = inference.speed(recogniser(), frames)
    assert measured["frames"] == 3
    assert min(measured.values()) > 0


def test_crops_are_classified_in_order_and_centres_are_those_of_known_pills(store, log):
    found = inference.class_centres(ColourClassifier(), store, 2, log)
    red = np.array(RED) / np.linalg.norm(RED)
    assert found.means[0] == pytest.approx(np.stack([red, red]), abs=0.01)  # no pill shows its back
    assert np.linalg.norm(found.means, axis=2) == pytest.approx(
        np.array([[1, 1], [1, 1], [0, 0], [0, 0]]), abs=1e-6
    )
    answers = inference.classify_crops(ColourClassifier(), store, 3, log)
    assert answers.logits.argmax(axis=1)[:3].tolist() == [0, 0, 1]
    assert len(answers.known()) == 3
    assert answers.known(False).truth.tolist() == [-1]
