"""Many labels read in several processes: the same readings for any number of them."""

import os
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


def boxes(readings: list[Readings]) -> list[list[int]]:
    values = np.frombuffer(b"".join(one.values for one in readings), dtype=np.int32)
    return [[int(value) for value in row] for row in values.reshape(-1, COLUMNS)]


def reasons(readings: list[Readings]) -> list[str]:
    return [reason for one in readings for _, reason, *_ in one.remarks]


def test_any_number_of_workers_reads_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CHUNK", 3)
    path_of(root, 4).write_bytes(b"{")
    one = read(root)
    assert [len(part.values) // (4 * COLUMNS) for part in one] == [3, 3, 3, 3, 3, 2]
    assert read(root, 2) == one
    assert reasons(one) == ["label_not_json"]


def test_a_label_is_its_numbers_and_the_index_of_its_drug(root: Path) -> None:
    (readings,) = read(root)
    label = label_of(OTHERS[0], "K-000002")
    assert boxes([readings])[10] == [*label["annotations"][0]["bbox"], 976, 1280, 1]
    assert readings.drugs[1].drug_name == label["images"][0]["dl_name"]
    assert not readings.remarks


def test_an_invalid_label_has_no_numbers(root: Path) -> None:
    path_of(root, 2).write_bytes(b"{")
    (readings,) = read(root)
    assert boxes([readings])[2] == [UNREAD] * COLUMNS
    assert [number for number, *_ in readings.remarks] == [2]


def test_a_missing_label_is_refused(root: Path) -> None:
    path_of(root, 0).unlink()
    assert reasons(read(root)) == ["label_unreadable"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_what_is_not_a_regular_file_is_refused_at_once(root: Path, kind: str) -> None:
    path_of(root, 0).unlink()
    make = {"folder": Path.mkdir, "fifo": os.mkfifo, "device": lambda p: p.symlink_to("/dev/zero")}
    make[kind](path_of(root, 0))
    (readings,) = read(root)
    assert [(number, reason) for number, reason, *_ in readings.remarks] == [
        (0, "label_unreadable")
    ]


def test_a_label_that_is_too_large_is_refused(root: Path) -> None:
    with path_of(root, 0).open("ab") as file:
        file.write(b" " * LARGEST_LABEL_BYTES)
    assert reasons(read(root)) == ["label_too_large"]


def test_the_view_is_taken_from_the_name(root: Path) -> None:
    label = label_of(SHOTS[3], "K-000001")
    label["images"][0]["camera_lo"] = 340
    path_of(root, 3).write_bytes(orjson.dumps(label))
    (readings,) = read(root)
    assert [notes[0][0] for *_, notes in readings.remarks] == ["view_differs_from_name"]


def test_progress_ends_at_the_total(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CHUNK", 10)
    steps: list[tuple[int, int]] = []
    list(reading.read(str(root), BATCHES, map, lambda *step: steps.append(step)))
    assert steps == [(10, 17), (17, 17)]
