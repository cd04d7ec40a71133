"""Which run metrics.json and validation.json are from."""

import os
from pathlib import Path
from typing import Any

import pytest

from make.monitor_runs import event, folded, write_run
from pillsnap.monitor import origins
from pillsnap.monitor.events import Event
from pillsnap.monitor.summaries import ArtifactFiles
from pillsnap.places import MODELS, TRAININGS, Places

RESULT = {"classification.top1": 0.9512, "detection.map50": 0.991, "minutes": 0.4}
TRAINED = [
    event(kind, time, run=stage, stage=stage)
    for time, stage in ((10.0, TRAININGS[0]), (20.0, TRAININGS[1]))
    for kind in ("start", "end")
]


def evaluated(time: float, **metrics: float) -> list[Event]:
    result = {**RESULT, **metrics}
    kinds: list[tuple[str, dict[str, float]]] = [("start", {}), ("end", result)]
    return [
        event(kind, time, run="e", stage="evaluate", metrics=metrics) for kind, metrics in kinds
    ]


def origin_of(folder: Path, name: str, events: list[Event], modified_s: float) -> dict[str, Any]:
    write_run(folder, b"")
    os.utime(folder / f"{name}.json", (modified_s, modified_s))
    files = ArtifactFiles(folder)
    files.refresh()
    found = origins.of(folded(*events), files)[name]
    assert isinstance(found, dict)
    return found


def test_metrics_of_the_newest_run_carry_time_run_and_revision(tmp_path: Path) -> None:
    assert origin_of(tmp_path, "metrics", [*TRAINED, *evaluated(30.0)], 31.0) == {
        "time": 31.0, "run": "e", "revision": "0123456789ab", "current": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("events", "modified_s"),
    [
        ([], 31.0),  # a fresh clone
        ([*TRAINED, *evaluated(30.0), event("start", 40.0, run="new")], 31.0),
        ([*TRAINED, *evaluated(30.0), event("log", 40.0, run="new", message="on cpu")], 31.0),
        ([*TRAINED, *evaluated(30.0), event("start", 40.0, run="new")], 41.0),  # git checkout
        ([*TRAINED[:3]], 31.0),  # still training
        ([*TRAINED[:3], event("failure", 25.0, run=TRAININGS[1])], 31.0),
        ([*evaluated(5.0), *TRAINED], 31.0),  # measured before
        ([*TRAINED, *evaluated(30.0)[:1]], 31.0),  # measuring
        ([*TRAINED, *evaluated(30.0, **{"classification.top1": 0.5})], 31.0),  # git checkout
        (TRAINED, 15.0),
    ],
)
def test_other_metrics_are_from_an_earlier_run(
    tmp_path: Path, events: list[Event], modified_s: float
) -> None:
    origin = origin_of(tmp_path, "metrics", events, modified_s)
    assert (origin["current"], origin["run"], origin["time"]) == (False, None, modified_s)


def test_metrics_written_after_trainings_that_ended_are_theirs(tmp_path: Path) -> None:
    assert origin_of(tmp_path, "metrics", TRAINED, 31.0)["current"]  # DVC restored evaluate


@pytest.mark.parametrize("content", [b"another checkpoint", None])
@pytest.mark.parametrize("model", MODELS)
def test_metrics_of_other_checkpoints_than_those_on_disk_are_not_current(
    tmp_path: Path, model: str, content: bytes | None
) -> None:
    write_run(tmp_path, b"")
    os.utime(tmp_path / "metrics.json", (31.0, 31.0))
    files = ArtifactFiles(tmp_path)
    current = []
    for change in (False, True):
        checkpoint = Places(tmp_path, tmp_path, tmp_path.name).checkpoint(model)
        if change:
            checkpoint.unlink()
        if change and content is not None:
            checkpoint.write_bytes(content)
        files.refresh()
        current.append(origins.of(folded(*TRAINED, *evaluated(30.0)), files)["metrics"]["current"])
    assert current == [True, False]


@pytest.mark.parametrize(
    ("kinds", "modified_s", "current"),
    [
        ([], 31.0, False),
        (["start", "end"], 31.0, True),
        (["start", "end"], 15.0, False),
        (["start"], 31.0, False),
        (["start", "failure"], 31.0, False),
    ],
)
def test_data_checks_are_current_once_validate_is_done(
    tmp_path: Path, kinds: list[str], modified_s: float, current: bool
) -> None:
    events = [event(kind, 20.0, run="v", stage="validate") for kind in kinds]
    assert origin_of(tmp_path, "validation", events, modified_s)["current"] is current


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b"{}", b'{"provenance": 3}', b'{"provenance": []}', b'{"provenance": [null]}',
     b'{"provenance": {"git_revision": 7}}'],
)  # fmt: skip
def test_a_damaged_evaluation_has_no_revision(tmp_path: Path, content: bytes) -> None:
    write_run(tmp_path, b"")
    (tmp_path / "evaluation.json").write_bytes(content)
    files = ArtifactFiles(tmp_path)
    files.refresh()
    assert origins.of(folded(), files)["metrics"]["revision"] is None
