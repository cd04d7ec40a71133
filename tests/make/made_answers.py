"""Outputs of made models: an oracle, a guesser, one that always predicts the same class."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from make.import_graph import ROOT
from pillsnap import params
from pillsnap.dataset.manifest import CLASS_COLUMNS
from pillsnap.evaluation import fit
from pillsnap.evaluation.answers import Answers, CropAnswers, FrameAnswer, FrameSet
from pillsnap.recognition.calibration import Calibration
from pillsnap.recognition.centres import Centres, normalised
from pillsnap.recognition.scores import Outputs

CLASSES, PER_CLASS = 10, 40
NO_PILLS = Outputs(np.empty((0, CLASSES)), np.empty((0, CLASSES)))

OPTIONS = params.load(ROOT / "params.yaml").evaluate.model_copy(
    update={"device": "cpu", "batch_size": 8, "bootstrap_rounds": 100, "worst_classes": 5}
)

Model = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def oracle(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Confident and right; spread evenly over all classes where there is no right answer."""
    logits = rng.normal(0, 0.01, (len(truth), CLASSES)).astype(np.float32)
    known = np.flatnonzero(truth >= 0)
    logits[known, truth[known]] += 20
    return logits


def guesser(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.normal(0, 1, (len(truth), CLASSES)).astype(np.float32)


def parrot(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.tile(np.eye(CLASSES, dtype=np.float32)[3], (len(truth), 1))


def muddled(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mostly right, never quite confident."""
    return (oracle(truth, rng) / 8 + guesser(truth, rng)).astype(np.float32)


def class_table(classes: int = CLASSES) -> pd.DataFrame:
    table = pd.DataFrame({name: [""] * classes for name in CLASS_COLUMNS})
    table["class_index"] = np.arange(classes)
    table["mapping_code"] = [f"K-{index:06d}" for index in range(classes)]
    table["drug_name"] = [f"가나정 {index}mg" for index in range(classes)]
    table["train_pills"], table["val_pills"] = 160, 40
    table["drug_shape"] = ["원형", "타원형"] * (classes // 2)
    table["color_class1"] = ["하양", "노랑"] * (classes // 2)
    return table


def crop_answers(model: Model, known: bool, seed: int) -> CropAnswers:
    """CLASSES x PER_CLASS pills in groups of four, a fifth of the known ones in
    combination frames."""
    rng = np.random.default_rng(seed)
    pills = np.arange(CLASSES * PER_CLASS)
    truth = pills // PER_CLASS if known else np.full(len(pills), -1)
    logits = model(truth, rng)
    table = pd.DataFrame(
        {
            "image_path": [f"{known}/{seed}/{pill}.png" for pill in pills],
            "mapping_code": [f"K-{pill // PER_CLASS + 500 * (not known):06d}" for pill in pills],
            "class_index": truth,
            "known": known,
            "image_type": np.where(known & (pills % 5 == 0), "combination", "single"),
            "group_id": [f"g{pill // 4}" for pill in pills],
            "back": pills % 3,
            "direction": pills % 2,
            "light": pills % 3,
            "content_hash": "",
        }
    ).assign(latitude=70, longitude=0, box_x=10, box_y=20, box_w=30, box_h=40)
    embeddings = normalised(logits + rng.normal(0, 0.01, logits.shape))
    return CropAnswers(logits, embeddings, table)


def made_centres(means: np.ndarray) -> Centres:
    """Both sides of each class at its row of `means` [classes, d], the same spread everywhere."""
    flat = np.zeros((1, means.shape[1]), np.float32)
    return Centres(np.stack([means, means], axis=1).astype(np.float32), flat)


def fitted(val: CropAnswers) -> Calibration:
    known, centres = val.known(), made_centres(np.eye(CLASSES, dtype=np.float32))
    return fit.fit(known, NO_PILLS, centres, 0.95, 0.01)


def frame_answer(index: int, kind: str, labels: list[int], names: list[int]) -> FrameAnswer:
    """A frame with pills in a row; `names[i]` is the predicted class of pill i, and further names
    are boxes where no pill is."""
    found = _row_of_boxes(len(names))
    score = np.linspace(0.9, 0.5, len(names))
    return FrameAnswer(
        image_path=f"{kind}/{index}.png",
        image_type=kind,
        group_id=f"{kind}{index}",
        labelled=_row_of_boxes(len(labels)),
        labelled_class=np.array(labels, dtype=np.int64),
        found=found,
        found_score=score,
        predicted=found,
        predicted_class=np.array(names, dtype=np.int64),
        box_confidence=score,
        confidence=np.full(len(names), 0.9),
        refusal_score=np.full(len(names), 0.9),
        top_class=np.tile(np.arange(5), (len(names), 1)),
        top_probability=np.full((len(names), 5), 0.2),
        seconds=0.01 * (index + 1),
        match_iou=OPTIONS.match_iou,
    )


def frames(right: bool = True, found: bool = True) -> FrameSet:
    """Six frames of each kind, by an oracle or by a detector that returns nothing."""
    made = []
    for index in range(6):
        for kind, labels in (("single", [index]), ("combination", [index, 9, 8 - index, -1])):
            names = labels if right else [(label + 1) % CLASSES for label in labels]
            made.append(frame_answer(index, kind, labels, names if found else []))
    return FrameSet(made)


def answers(model: Model, frames_of_val: FrameSet) -> Answers:
    val, test = crop_answers(model, True, 1), crop_answers(model, False, 2)
    tests = [frame for frame in frames_of_val.frames if frame.image_type == "combination"]
    return Answers(val, test, frames_of_val, FrameSet(tests))


def _row_of_boxes(count: int) -> np.ndarray:
    left = np.arange(count, dtype=np.float32) * 100
    corners = [left, np.zeros(count), left + 80, np.full(count, 60)]
    return np.stack(corners, axis=1).astype(np.float32)
