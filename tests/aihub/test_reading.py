"""Many labels read in several processes: the same readings for any number of them."""

from pathlib import Path

import numpy as np
import orjson
import pytest

from make.aihub_tree import Shot, label_of
from pillsnap.aihub import reading
from pillsnap.aihub.reading import COLUMNS, LARGEST_LABEL_BYTES, UNREAD, LabelBatch, Readings
from pillsnap.stage.pool import workers

SHOTS = [Shot(("K-000001",), longitude=20 * at) for at in range(10)]
OTHERS = [Shot(("K-000002",), longitude=20 * at) for at in range(7)]
BATCHES = [
    LabelBatch("one", ".json", "K-000001", [shot.stem for shot in SHOTS]),
    LabelBatch("two", ".json", "K-000002", [shot.stem for shot in OTHERS]),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder, shots in (("one", SHOTS), ("two", OTHERS)):
        (tmp_path / folder).mkdir()
        for shot in shots:
            label = orjson.dumps(label_of(shot, shot.codes[0]))
            (tmp_path / folder / f"{shot.stem}.json").write_bytes(label)
    return tmp_path


def path_of(root: Path, number: int) -> Path:
    return root / "one" / f"{SHOTS[number].stem}.json"


def read(root: Path, num_workers: int = 1) -> list[Readings]:
    with workers(num_workers, reading.__name__, "") as spread:
        return list(reading.read(str(root), BATCHES, spread, lambda done, total: None))


def boxes(readings: Readings) -> list[list[int]]:
    return np.frombuffer(readings.values, dtype=np.int32).reshape(-1, COLUMNS).tolist()


def test_any_number_of_workers_reads_the_same(root, monkeypatch):
    monkeypatch.setattr(reading, "CHUNK", 3)
    path_of(root, 4).write_bytes(b"{")
    one = read(root)
    assert [len(part.values) // (4 * COLUMNS) for part in one] == [3, 3, 3, 3, 3, 2]
    assert read(root, 2) == one
    assert [reason for part in one for _, reason, *_ in part.remarks] == ["label_not_json"]


def test_a_label_is_its_numbers_and_the_index_of_its_drug(root):
    (readings,) = read(root)
    label = label_of(OTHERS[0], "K-000002")
    assert boxes(readings)[10] == [*label["annotations"][0]["bbox"], 976, 1280, 1]
    drug, image = readings.drugs[1], label["images"][0]
    assert (drug.drug_name, drug.item_seq) == (image["dl_name"], str(image["item_seq"]))
    assert not readings.remarks


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(b"{"), "label_not_json"),
        (lambda path: path.write_bytes(b" " * (LARGEST_LABEL_BYTES + 1)), "label_too_large"),
        (Path.unlink, "label_unreadable"),
    ],
)
def test_a_label_that_cannot_be_used_has_no_numbers(root, damage, reason):
    damage(path_of(root, 2))
    (readings,) = read(root)
    assert boxes(readings)[2] == [UNREAD] * COLUMNS
    assert [(number, found) for number, found, *_ in readings.remarks] == [(2, reason)]


def test_progress_ends_at_the_total(root, monkeypatch):
    monkeypatch.setattr(reading, "CHUNK", 10)
    steps: list[tuple[int, int]] = []
    list(reading.read(str(root), BATCHES, map, lambda *step: steps.append(step)))
    assert steps == [(10, 17), (17, 17)]
