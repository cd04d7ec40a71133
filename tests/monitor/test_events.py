"""The reader of a growing events file."""

from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings

from make.damage import SEEDS, damaged_json
from make.monitor_runs import LINE, append, line
from pillsnap.monitor import view
from pillsnap.monitor.events import KINDS, LONGEST_LINE_BYTES, EventReader, parse
from pillsnap.monitor.folder import RunFolder
from pillsnap.monitor.state import State, fold


def steps(reader: EventReader) -> list[int | None]:
    found: list[int | None] = []
    while True:
        batch = reader.read()
        found = [*([] if batch.restarted else found), *(event.step for event in batch.events)]
        if not batch.more:
            return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def test_parse_keeps_every_field() -> None:
    place = {"epoch": 3, "step": 7, "total": 20, "metrics": {"loss": 1.5, "map50": None}}
    words = {
        "message": "red \x1b[31m\x07 빨강\n",
        "level": "ERROR",
        "cause": "c",
        "cures": ["a", "b"],
    }
    hardware = {"cpu_pct": 50, "gpu_name": "GPU"}
    event = parse(line(kind="failure", hardware=hardware, **place, **words))
    assert event is not None
    assert (event.time_s, event.stage, event.run) == (1.5, "train_detection", "ab12")
    assert (event.epoch, event.step, event.total) == (3, 7, 20)
    assert event.metrics == {"loss": 1.5, "map50": None}
    assert event.hardware == {"cpu_pct": 50.0, "gpu_name": "GPU"}
    assert (event.level, event.cause, event.cures) == ("ERROR", "c", ("a", "b"))
    assert event.message == "red [31m 빨강\n"  # no control characters for a terminal


@pytest.mark.parametrize(
    "damaged",
    [
        *(b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"time": NaN}'),
        *(line(time="now"), line(time=True), line(time=1e200)),
        *(line(stage="cook"), line(stage=["evaluate"]), line(kind="dance"), line(kind={})),
    ],
)
def test_lines_that_are_no_event_are_skipped(damaged: bytes) -> None:
    assert parse(damaged) is None


def test_an_event_with_malformed_fields_is_kept() -> None:
    odd = {"epoch": "three", "step": -1, "total": 1e300, "level": [], "cures": "all", "cause": {}}
    assert parse(line(**odd, metrics=[1], hardware=7, message=None, run=None)) is not None


def test_only_what_is_new_is_read_a_line_once_it_is_whole_and_none_that_is_damaged(path) -> None:
    reader = EventReader(path)
    path.write_bytes(line(step=1) + line(step=2)[:40] + b"\n" + line(step=3) + line(step=4)[:30])
    first = steps(reader)
    append(path, line(step=4)[30:])
    assert (first, steps(reader), reader.skipped) == ([1, 3], [4], 1)


@pytest.mark.parametrize(
    ("content", "in_place", "read"),
    [
        (line(step=1), True, [1]),  # cut short
        (line(step=8) + line(step=9), False, [8, 9]),  # replaced
        (line(step=7, time=9.0) + line(step=8) + line(step=9), True, [7, 8, 9]),  # grown past it
    ],
)
def test_another_file_is_read_from_its_start(path: Path, content, in_place, read) -> None:
    reader = EventReader(path)
    path.write_bytes(line(step=1) + line(step=2))
    steps(reader)
    target = path if in_place else path.with_name("new")  # in place: the same inode
    target.write_bytes(content)
    target.replace(path)
    batch = reader.read()
    assert (batch.restarted, [event.step for event in batch.events]) == (True, read)


def test_an_absent_file_has_no_events_and_a_removed_one_restarts_once(path: Path) -> None:
    reader = EventReader(path)
    assert (steps(reader), reader.size()) == ([], 0)
    path.write_bytes(line())
    assert (len(steps(reader)), reader.size()) == (1, len(line()))
    path.unlink()
    assert [reader.read().restarted, reader.read().restarted] == [True, False]


def test_many_chunks_are_read_once_and_an_overlong_line_is_skipped(path: Path) -> None:
    many = b"".join(line(step=step) for step in range(5000))  # several chunks
    path.write_bytes(many + b"x" * (2 * LONGEST_LINE_BYTES) + b"\n" + line(step=5000))
    assert steps(EventReader(path)) == list(range(5001))


@settings(max_examples=300, deadline=5000)
@given(SEEDS)
def test_any_damaged_lines_are_shown_or_skipped(chance) -> None:
    lines = [
        damaged_json({**LINE, "kind": chance.choice(KINDS), "message": "m"}, chance)
        for _ in range(4)
    ]
    events = [event for one in lines if (event := parse(one)) is not None]
    folder = RunFolder(Path("none"))
    folder.state = fold(State(), events)
    assert orjson.dumps(view.of(folder, "", now_s=2.0))
