"""What will run and what is cached, told before it starts."""

from pathlib import Path
from typing import Any

import pytest

from make.made_project import PIPELINE
from pillsnap.errors import DataError
from pillsnap.operation import plan

PARAMS: dict[str, Any] = {"scale": "demo", "train": {"epochs": 2, "lr": None}}


def told(status: dict[str, Any], changed: set[str] = frozenset()) -> dict[str, str]:  # type: ignore[assignment]
    return {step.stage: step.why for step in plan.plan(PIPELINE, status, PARAMS, changed)}


def test_nothing_changed_means_nothing_runs() -> None:
    steps = plan.plan(PIPELINE, {}, PARAMS, set())
    assert [(step.stage, step.runs) for step in steps] == [
        ("build_manifest", False), ("train_classification", False), ("evaluate", False),
    ]  # fmt: skip


def test_a_stage_that_runs_takes_along_all_that_follow_from_it() -> None:
    status = {"build_manifest": [{"changed deps": {"data/fingerprints/demo.json": "modified"}}]}
    assert told(status) == {
        "build_manifest": "deps: data/fingerprints/demo.json modified",
        "train_classification": "build_manifest runs",
        "evaluate": "train_classification runs",
    }


def test_a_changed_option_runs_the_stages_that_read_it() -> None:
    assert told({}, {"train.epochs"}) == {
        "build_manifest": "",
        "train_classification": "train.epochs changed",
        "evaluate": "train_classification runs",
    }


def test_a_changed_key_inside_a_section_that_a_stage_reads_counts() -> None:
    assert told({}, {"evaluate.batch_size"})["evaluate"] == "evaluate.batch_size changed"


def test_changed_parameters_are_told_by_key_and_long_lists_cut() -> None:
    changes = {f"train.{name}": "modified" for name in "abcde"}
    status = {"train_classification": [{"changed deps": {"params.yaml": changes}}]}
    why = told(status)["train_classification"]
    assert why == "deps: train.a modified, train.b modified, train.c modified and 2 more"


def test_stages_come_in_the_order_they_run_in() -> None:
    turned = {"stages": dict(reversed(PIPELINE["stages"].items()))}
    steps = plan.plan(turned, {}, PARAMS, set())
    assert [step.stage for step in steps] == ["build_manifest", "train_classification", "evaluate"]


def test_a_missing_pipeline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dvc\.yaml is not here"):
        plan.read_pipeline(tmp_path / "dvc.yaml")


def test_a_broken_pipeline_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: [")
    with pytest.raises(DataError, match="is not YAML"):
        plan.read_pipeline(tmp_path / "dvc.yaml")
