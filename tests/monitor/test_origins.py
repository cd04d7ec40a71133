"""Which run metrics.json and validation.json are from."""

import os
from pathlib import Path
from typing import Any

import pytest

from make.monitor_runs import event, folded, write_run
from pillsnap.monitor.events import Event
from pillsnap.monitor.folder import RunFolder, origins
from pillsnap.places import MODELS, TRAININGS, Places

TRAINED = [
    event(kind, time, run=stage, stage=stage)
    for time, stage in ((10.0, TRAININGS[0]), (20.0, TRAININGS[1]))
    for kind in ("start", "end")
]
NEW = event("start", 40.0, run="new")


def evaluated(time: float, top1: float = 0.9512) -> list[Event]:
    result = {"classification.top1": top1, "detection.map50": 0.991, "minutes": 0.4}
    start = event("start", time, run="e", stage="evaluate")
    return [start, event("end", time, run="e", stage="evaluate", metrics=result)]


def validated(*kinds: str) -> list[Event]:
    return [event(kind, 20.0, run="v", stage="validate") for kind in kinds]


def origins_of(folder: Path, events: list[Event]) -> dict[str, Any]:
    followed = RunFolder(folder)
    followed.state = folded(*events)
    followed.refresh()
    return origins(followed)


@pytest.mark.parametrize(
    ("name", "events", "modified_s", "run"),
    [
        ("metrics", [*TRAINED, *evaluated(30.0)], 31.0, "e"),
        ("metrics", TRAINED, 31.0, ""),  # DVC restored evaluate
        ("metrics", [], 31.0, None),  # a fresh clone
        ("metrics", [*TRAINED, *evaluated(30.0), NEW], 31.0, None),
        ("metrics", [*TRAINED, *evaluated(30.0), event("log", 40.0, run="new")], 31.0, None),
        ("metrics", [*TRAINED, *evaluated(30.0), NEW], 41.0, None),  # git checkout
        ("metrics", TRAINED[:3], 31.0, None),  # still training
        ("metrics", [*TRAINED[:3], event("failure", 25.0, run=TRAININGS[1])], 31.0, None),
        ("metrics", [*evaluated(5.0), *TRAINED], 31.0, None),  # measured before
        ("metrics", [*TRAINED, *evaluated(30.0)[:1]], 31.0, None),  # measuring
        ("metrics", [*TRAINED, *evaluated(30.0, top1=0.5)], 31.0, None),  # git checkout
        ("metrics", TRAINED, 15.0, None),
        ("validation", [], 31.0, None),
        ("validation", validated("start", "end"), 31.0, "v"),
        ("validation", validated("start", "end"), 15.0, None),
        ("validation", validated("start"), 31.0, None),
        ("validation", validated("start", "failure"), 31.0, None),
    ],
)
def test_a_file_is_of_the_newest_run_or_not(tmp_path, name, events, modified_s, run) -> None:
    write_run(tmp_path, b"")
    os.utime(tmp_path / f"{name}.json", (modified_s, modified_s))
    revision = "0123456789ab" if name == "metrics" else None
    assert origins_of(tmp_path, events)[name] == {
        "time": modified_s, "run": run or None, "revision": revision, "current": run is not None,
    }  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
def test_metrics_of_other_checkpoints_than_those_on_disk_are_not_current(tmp_path, model) -> None:
    write_run(tmp_path, b"")
    checkpoint = Places(tmp_path, tmp_path, tmp_path.name).checkpoint(model)
    checkpoint.write_bytes(b"another checkpoint")
    assert not origins_of(tmp_path, TRAINED)["metrics"]["current"]
    checkpoint.unlink()
    assert not origins_of(tmp_path, TRAINED)["metrics"]["current"]


def test_a_damaged_evaluation_has_no_revision(tmp_path: Path) -> None:
    write_run(tmp_path, b"")
    provenances = ("3", "[]", "[null]", '{"git_revision": 7}')
    for content in ("{", "[]", "{}", *(f'{{"provenance": {one}}}' for one in provenances)):
        (tmp_path / "evaluation.json").write_text(content, "utf-8")
        assert origins_of(tmp_path, [])["metrics"]["revision"] is None
