"""Many labels read over processes: the same readings whatever their number."""

from pathlib import Path

import orjson
import pytest

from aihub_tree import Shot, label_of
from pillsnap import label_reading
from pillsnap.label_reading import LARGEST_LABEL_BYTES, Task, reader
from pillsnap.labels import Expected, Reading

SHOT = Shot(("K-000001",))
EXPECTED = Expected("K-000001", f"{SHOT.stem}.png", 70, 0)
GOOD = orjson.dumps(label_of(SHOT, "K-000001"))


def read(root: Path, count: int, num_workers: int) -> list[Reading]:
    tasks = [Task(f"{number}.json", EXPECTED) for number in range(count)]
    with reader(str(root), num_workers, count) as labels:
        return list(labels.read(iter(tasks), count, lambda done, total: None))


def test_any_number_of_workers_reads_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_reading, "CHUNK", 3)
    for number in range(20):
        (tmp_path / f"{number}.json").write_bytes(GOOD if number % 4 else b"{")
    one, two = read(tmp_path, 20, 1), read(tmp_path, 20, 2)
    assert one == two
    assert [bool(reading.label) for reading in one] == [bool(at % 4) for at in range(20)]


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    (tmp_path / "0.json").write_bytes(GOOD)
    steps: list[tuple[int, int]] = []
    with reader(str(tmp_path), 1, 1) as labels:
        list(labels.read(iter([Task("0.json", EXPECTED)]), 1, lambda *step: steps.append(step)))
    assert steps == [(1, 1)]


def test_a_label_that_has_gone_is_refused(tmp_path: Path) -> None:
    assert read(tmp_path, 1, 1)[0].reason == "label_unreadable"


def test_a_label_too_large_to_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "0.json").write_bytes(GOOD + b" " * LARGEST_LABEL_BYTES)
    assert read(tmp_path, 1, 1)[0].reason == "label_too_large"
