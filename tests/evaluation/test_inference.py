from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from make.drawn_models import (
    BLUE,
    GREEN,
    RED,
    STRANGE,
    ColourClassifier,
    classes,
    frame,
    recogniser,
)
from pillsnap.dataset import arrow, crops, pixels
from pillsnap.dataset.frames import FrameStore
from pillsnap.evaluation import inference, matching, tables
from pillsnap.stage.log import RunLog
from pillsnap.validation.outputs import FRAME_SCHEMA

PHOTOS = {
    "a.png": [(20, 30, 60, RED, 0)],
    "b.png": [(150, 40, 50, GREEN, 1), (30, 60, 70, STRANGE, -1)],
    "c.png": [(150, 40, 50, BLUE, 0)],
}


@pytest.fixture
def frames(tmp_path: Path) -> FrameStore:
    path = tmp_path / "frames.arrow"
    with arrow.arrow_writer(path, FRAME_SCHEMA) as writer:
        for name, pills in PHOTOS.items():
            picture = frame(*[pill[:4] for pill in pills])
            labels = [
                {
                    "mapping_code": f"K-{index:06d}",
                    "class_index": index,
                    "known": index >= 0,
                    "box_x": x,
                    "box_y": y,
                    "box_w": side,
                    "box_h": side,
                    "group_id": name,
                }
                for x, y, side, _, index in pills
            ]
            kind = "single" if len(pills) == 1 else "combination"
            jpeg = pixels.encode(picture, 95)
            size = {"width": 300, "height": 200}
            row = {"image_path": name, "image_type": kind, **size, "jpeg": jpeg, "pills": labels}
            writer.add(row)
    return FrameStore(path)


@pytest.fixture
def store(tmp_path: Path) -> crops.CropStore:
    columns = {field.name: 0 for field in crops.SCHEMA if field.name != "jpeg"}
    text = dict.fromkeys(["mapping_code", "image_type", "group_id", "content_hash"], "")
    colours = [RED, RED, GREEN, STRANGE]
    rows = [
        {**columns, **text, "image_path": f"{i}", "class_index": index, "known": index >= 0}
        for i, index in enumerate([0, 0, 1, -1])
    ]
    pictures = [np.full((24, 24, 3), colour, np.uint8) for colour in colours]
    path = tmp_path / "crops.arrow"
    crops.write_crops(path, pd.DataFrame(rows), [pixels.encode(p, 95) for p in pictures])
    return crops.CropStore(path)


@pytest.fixture
def log(tmp_path: Path) -> RunLog:
    (tmp_path / "live").mkdir()
    return RunLog("evaluate", tmp_path / "live", "ERROR")


def test_a_frame_store_gives_pictures_and_labels(frames: FrameStore) -> None:
    label = frames.labels[1]
    assert len(frames) == 3
    assert frames.decode(1).shape == (200, 300, 3)
    assert label.class_index.tolist() == [1, -1]
    assert label.box.tolist() == [[150, 40, 200, 90], [30, 60, 100, 130]]
    assert (label.group_id, label.image_type) == ("b.png", "combination")


def test_frames_are_read_as_the_recogniser_reads_them(frames: FrameStore, log: RunLog) -> None:
    answers = inference.read_frames(recogniser(), frames, 2, log)
    outcomes = [answer.match(0.5).predicted for answer in answers.frames]
    assert outcomes == [("right",), ("right", "right"), ("wrong_name",)]
    assert all(answer.seconds > 0 for answer in answers.frames)


def test_found_boxes_reach_below_the_operating_point(frames: FrameStore, log: RunLog) -> None:
    tool = recogniser()
    strict = type(tool.calibration)(**{**tool.calibration.__dict__, "detection_confidence": 0.65})
    tool.calibration = strict
    answer = inference.read_frames(tool, frames, 2, log).frames[1]
    assert (len(answer.found), len(answer.predicted)) == (2, 1)


def test_class_means_are_those_of_known_pills(store: crops.CropStore, log: RunLog) -> None:
    means = inference.class_means(ColourClassifier(), store, 4, 2, log)
    red = np.array(RED) / np.linalg.norm(RED)
    assert means[0] == pytest.approx(red, abs=0.01)
    assert np.linalg.norm(means, axis=1) == pytest.approx([1, 1, 0, 0], abs=1e-6)


def test_crops_are_classified_in_the_order_of_the_store(
    store: crops.CropStore, log: RunLog
) -> None:
    answers = inference.classify_crops(ColourClassifier(), store, 4, 3, log)
    assert answers.logits.argmax(axis=1)[:3].tolist() == [0, 0, 1]
    assert len(answers.known()) == 3
    assert answers.known(False).truth.tolist() == [-1]


def test_speed_has_each_step(frames: FrameStore) -> None:
    pictures = [frames.decode(index) for index in range(3)]
    measured = inference.speed(recogniser(), pictures)
    assert measured["frames"] == 3
    assert min(value for name, value in measured.items()) > 0


def test_the_table_of_found_pills_recounts_the_outcomes(frames: FrameStore, log: RunLog) -> None:
    answers = inference.read_frames(recogniser(), frames, 2, log)
    table = tables.pills("val", answers, 0.5, classes())
    assert table["outcome"].value_counts().to_dict() == {matching.RIGHT: 3, "wrong_name": 1}
    assert table["code"].tolist() == ["K-000000", "", "K-000001", "K-000002"]
    assert table["refused"].tolist() == [False, True, False, False]


def test_glued_crops_are_two_pills_of_different_classes(
    store: crops.CropStore, log: RunLog
) -> None:
    made = inference.classify_glued(ColourClassifier(), store, 0, 4, 2, log)
    assert 0 < len(made) <= 2
    assert made.embeddings.shape == (len(made), 3)


def test_a_glued_crop_takes_a_half_of_each() -> None:
    left, right = np.zeros((4, 4, 3), np.uint8), np.ones((4, 4, 3), np.uint8)
    assert inference.glued(left, right)[0, :, 0].tolist() == [0, 0, 1, 1]
