"""The goals against a metrics.json, as `pillsnap targets` shows them."""

import hashlib
import re

import pytest
from typer.testing import CliRunner

from make.import_graph import ROOT
from pillsnap import cli, files
from pillsnap.params import load
from pillsnap.places import MODELS, Places

GOALS = {
    "classification_top1": {"goal": 0.85, "value": 0.9123, "met": True},
    "training_minutes": {"goal": 120.0, "value": 9.5, "met": True},
}
INTERVAL = {"low": 0.8911, "high": 0.9333, "groups": 40}


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """Runs the command on made metrics; its exit code and the row of the first goal."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)

    def run(evaluation=True, checkpoints=True, **first):
        goals = GOALS | {"classification_top1": GOALS["classification_top1"] | first}
        places = Places.of(load())
        folder, hashes = places.artifacts_dir, {}
        files.write_json(folder / "metrics.json", {"targets": goals})
        for name in MODELS if checkpoints else ():
            files.write_bytes(places.checkpoint(name), b"measured")
            hashes[f"{name}_sha256"] = hashlib.sha256(b"measured").hexdigest()
        if evaluation:
            ci = {"targets": {"classification_top1": {"ci": INTERVAL}}}
            files.write_json(folder / "evaluation.json", {"provenance": hashes, **ci})
        done = CliRunner(env={"COLUMNS": "120"}).invoke(cli.app, ["targets"])
        assert "ready for stage4?" in done.output
        apart = "not of the checkpoints on disk" in done.output
        assert apart == (not (evaluation and checkpoints))
        lines = done.output.splitlines()
        return done.exit_code, next(line for line in lines if "classification_top1" in line)

    return run


@pytest.mark.parametrize(
    ("made", "code", "wanted"),
    [
        ({}, 0, r">= 0.85 .* 0.9123  \[0.8911, 0.9333\] .* yes"),
        ({"evaluation": False}, 1, r">= 0.85 .* 0.9123 +│ - "),  # of which checkpoints?
        ({"checkpoints": False}, 1, r">= 0.85 .* 0.9123  \[0.8911, 0.9333\] +│ - "),
        ({"evaluation": False, "checkpoints": False}, 1, r" 0.9123 +│ - "),  # a clone
        ({"value": 0.5, "met": False}, 1, r" 0.5  .* NO"),
        ({"value": None, "met": None}, 1, r" no value  .* NO"),
    ],
)
def test_goal_value_and_interval_are_in_a_row(shown, made, code, wanted):
    found, row = shown(**made)
    assert (found, bool(re.search(wanted, row))) == (code, True), row


@pytest.mark.parametrize("other", ["detection", "classification", "metrics.json", None])
def test_metrics_of_other_checkpoints_end_with_1(shown, other):
    shown()
    places = Places.of(load())
    if other in MODELS:
        files.write_bytes(places.checkpoint(other), b"trained since")
    elif other:
        path = places.artifacts_dir / other
        files.write_json(path, files.read_json(path, "") | {"detection": {"map50": 0.9}})
    done = CliRunner().invoke(cli.app, ["targets"])
    assert done.exit_code == (1 if other else 0), done.output
    assert ("not of the checkpoints on disk" in done.output) == bool(other)
