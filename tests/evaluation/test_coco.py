import numpy as np
import pytest

from pillsnap.evaluation import coco, matching, metrics
from pillsnap.evaluation.coco import Evaluator, Instances, Precisions

RNG = np.random.default_rng(3)


def made(frames: int, classes: int) -> tuple[Instances, Instances]:
    corner = RNG.uniform(0, 300, (frames * 4, 2))
    box = np.c_[corner, corner + RNG.uniform(40, 80, (frames * 4, 2))].astype(np.float32)
    frame = np.repeat(np.arange(frames), 4)
    index = RNG.integers(0, classes, frames * 4)
    labelled = Instances(frame, box, index, np.ones(len(box)))
    jitter = RNG.normal(0, 6, box.shape).astype(np.float32)
    wrong = np.where(RNG.uniform(size=len(index)) < 0.2, (index + 1) % classes, index)
    found = Instances(frame, box + jitter, wrong, RNG.permutation(len(box)) / len(box))
    return labelled, found


def measured(labelled: Instances, found: Instances, frames: int) -> Precisions:
    return Evaluator(labelled, found, frames).measure(np.arange(frames))


def some(instances: Instances, low: int, high: int) -> Instances:
    return instances.where((instances.class_index >= low) & (instances.class_index < high))


def ap_by_hand(labelled: Instances, found: Instances, frames: int, iou: float) -> float:
    order = np.argsort(-found.score, kind="stable")
    matched = np.zeros(len(found.frame), bool)
    for frame in range(frames):
        mine = order[found.frame[order] == frame]
        pills = labelled.box[labelled.frame == frame]
        matched[mine] = matching.greedy(found.box[mine], pills, iou)
    value = metrics.average_precision(found.score, matched, len(labelled.frame))
    assert value is not None
    return value


def test_map_of_one_class_is_the_average_precision_written_by_hand() -> None:
    labelled, found = made(30, 1)
    whole = measured(labelled, found, 30)
    by_hand = [ap_by_hand(labelled, found, 30, iou) for iou in np.arange(0.5, 1.0, 0.05)]
    assert whole.map50 == pytest.approx(by_hand[0], abs=1e-4)
    assert whole.map50_95 == pytest.approx(np.mean(by_hand), abs=1e-4)


def test_classes_in_chunks_give_the_same_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    labelled, found = made(30, 7)
    whole = measured(labelled, found, 30)
    monkeypatch.setattr(coco, "CHUNK", 3)
    assert measured(labelled, found, 30).map50 == pytest.approx(whole.map50, abs=1e-12)


def test_map_of_classes_is_the_mean_of_each() -> None:
    labelled, found = made(30, 5)
    each = [ap_by_hand(some(labelled, c, c + 1), some(found, c, c + 1), 30, 0.5) for c in range(5)]
    assert measured(labelled, found, 30).map50 == pytest.approx(np.mean(each), abs=1e-4)


def test_the_curve_is_the_one_average_precision_is_the_mean_of() -> None:
    labelled, found = made(20, 1)
    whole = measured(labelled, found, 20)
    assert whole.curve.mean() == pytest.approx(whole.map50, abs=1e-12)


def test_nothing_found_is_0_and_nothing_labelled_is_none() -> None:
    labelled, found = made(5, 2)
    empty = some(found, 99, 100)
    assert measured(labelled, empty, 5).map50 == 0.0
    assert measured(empty, found, 5).map50 is None


def test_the_labels_found_again_are_1() -> None:
    labelled, _ = made(5, 2)
    assert measured(labelled, labelled, 5).map50_95 == pytest.approx(1.0)


def test_some_frames_are_measured_as_a_set_of_their_own() -> None:
    labelled, found = made(30, 7)
    frames = np.arange(0, 30, 3)
    own = [part.where(np.isin(part.frame, frames)) for part in (labelled, found)]
    part = Evaluator(labelled, found, 30).measure(frames)
    assert part.map50 == pytest.approx(measured(*own, 30).map50, abs=1e-12)
    assert part.map50_95 == pytest.approx(measured(*own, 30).map50_95, abs=1e-12)
    assert Evaluator(labelled, found, 30).measure(np.empty(0, int)).map50 is None
