"""The goals against a metrics.json, as `pillsnap targets` shows them."""

import hashlib
import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from make.import_graph import ROOT
from pillsnap import cli, files
from pillsnap.operation import targets as goals
from pillsnap.params import Params, load
from pillsnap.places import MODELS, Places

TARGETS = {
    "classification_top1": {"goal": 0.85, "value": 0.9123, "met": True},
    "training_minutes": {"goal": 120.0, "value": 9.5, "met": True},
}


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A folder with params.yaml and nothing measured."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    return load()


def write(params: Params, **changes: dict) -> None:
    targets = {name: {**goal, **changes.get(name, {})} for name, goal in TARGETS.items()}
    params.artifacts_dir.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"targets": targets})
    (params.artifacts_dir / "metrics.json").write_text(text, encoding="utf-8")
    interval = {"low": 0.8911, "high": 0.9333, "groups": 40}
    whole = {"targets": {"classification_top1": {"ci": interval}}}
    (params.artifacts_dir / "evaluation.json").write_text(json.dumps(whole), encoding="utf-8")


def shown(table: object) -> str:
    text = io.StringIO()
    Console(width=120, file=text).print(table)
    return text.getvalue()


def test_goal_value_and_interval_are_in_one_row(params: Params) -> None:
    write(params)
    table, met = goals.compare(params)
    row = next(line for line in shown(table).splitlines() if "classification_top1" in line)
    wanted = (">= 0.85", "0.9123", "[0.8911, 0.9333]", "yes")
    assert [text for text in wanted if text not in row] == []
    assert met


def test_without_evaluation_json_there_are_no_intervals(params: Params) -> None:
    write(params)
    (params.artifacts_dir / "evaluation.json").unlink()
    table, met = goals.compare(params)
    assert met
    assert "[" not in shown(table)


@pytest.mark.parametrize("missed", [{"value": 0.5, "met": False}, {"value": None, "met": None}])
def test_a_missed_goal_and_one_without_a_value_are_not_met(params: Params, missed: dict) -> None:
    write(params, classification_top1=missed)
    table, met = goals.compare(params)
    assert not met
    assert "NO" in shown(table)


@pytest.mark.parametrize(("value", "code"), [(0.9, 0), (0.5, 1)])
def test_the_command_ends_with_1_when_a_goal_is_missed(
    params: Params, value: float, code: int
) -> None:
    write(params, classification_top1={"value": value, "met": value >= 0.85})
    done = CliRunner().invoke(cli.app, ["targets"])
    assert done.exit_code == code, done.output
    assert "ready for stage4?" in done.output


@pytest.mark.parametrize("other", ["detection", "classification", "metrics.json", None])
def test_metrics_of_other_checkpoints_end_with_1(params: Params, other: str | None) -> None:
    write(params)
    places, out = Places.of(params), params.artifacts_dir
    for name in MODELS:
        files.write_bytes(places.checkpoint(name), b"measured")
    hashes = {f"{name}_sha256": hashlib.sha256(b"measured").hexdigest() for name in MODELS}
    whole = {**json.loads((out / "evaluation.json").read_text()), "provenance": hashes}
    files.write_json(out / "evaluation.json", whole)
    if other in MODELS:
        files.write_bytes(places.checkpoint(other), b"trained since")
    elif other:
        tree = json.loads((out / other).read_text()) | {"detection": {"map50": 0.9}}
        files.write_json(out / other, tree)
    done = CliRunner().invoke(cli.app, ["targets"])
    assert done.exit_code == (1 if other else 0), done.output
    assert ("not of the checkpoints on disk" in done.output) == bool(other)
