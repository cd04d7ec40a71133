"""`pillsnap compare` on a made project: two commits and an experiment, run by the real DVC."""

import json
import re

import pytest
from typer.testing import CliRunner

from make.import_graph import ROOT
from make.tiny_project import run
from pillsnap import cli, files
from pillsnap.errors import DataError
from pillsnap.operation import compare

STAGE = """
import json, pathlib, yaml
params = yaml.safe_load(open("params.yaml"))
(out := pathlib.Path("artifacts", params["scale"])).mkdir(parents=True, exist_ok=True)
top1 = 0.9 + params["train"]["epochs"] / 1000
tree = {"classification": {"top1": top1, "ece": 0.02}, "unknown": {"auroc": None}}
(out / "metrics.json").write_text(json.dumps(tree))
tree["classification"]["ci"] = {"top1": {"low": top1 - 0.01, "high": top1 + 0.01, "groups": 9}}
tree["unknown"]["auroc_reason"] = "no unknown pill in test"
(out / "evaluation.json").write_text(json.dumps(tree))
"""
PIPELINE = """
stages: {evaluate: {cmd: python stage.py, params: [scale, train.epochs], outs: [
  "artifacts/${scale}/evaluation.json", "artifacts/${scale}/metrics.json": {cache: false}]}}
"""
HISTORY = """
git init -q && sed -i 's/^scale: demo/scale: stage1/' params.yaml && python stage.py
rm artifacts/stage1/evaluation.json && git add -A && git commit -qm bare && git tag bare
sed -i 's/^scale: stage1/scale: demo/' params.yaml
dvc repro -q && git add -A && git commit -qm measured
dvc exp run -q -n long -S train.epochs=48
"""
FILES = {
    ".dvc/config": "[core]\n analytics = false\n", "stage.py": STAGE, "dvc.yaml": PIPELINE,
    ".gitignore": ".dvc/cache\n.dvc/tmp\nevaluation.json\n",
    "params.yaml": (ROOT / "params.yaml").read_text("utf-8"),
}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Tag `bare`: stage1 without evaluation.json. HEAD: 18 epochs. `long`: 48 epochs."""
    folder = tmp_path_factory.mktemp("compared")
    for name, text in FILES.items():
        files.write_text(folder / name, text)
    run(folder, "bash", "-ec", HISTORY)
    return folder


@pytest.fixture
def printed(project, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(cli.app, ["compare", *arguments]).output


def test_without_revisions_head_and_its_experiments_follow_the_workspace(printed) -> None:
    tree = json.loads(printed("--json"))
    assert [column["name"] for column in tree["columns"]] == ["workspace", "HEAD", "long"]
    assert tree["params"] == {"train.epochs": [48, 18, 48]}
    metrics = [column["metrics"] for column in tree["columns"]]
    top1 = [one["classification.top1"] for one in metrics]
    assert [cell["verdict"] for cell in top1] == [None, "worse", "same"]
    assert [cell["value"] for cell in top1] == pytest.approx([0.948, 0.918, 0.948])
    assert len(metrics[0]) == 10


def test_a_missing_metric_has_a_reason_and_one_without_interval_no_verdict(printed) -> None:
    text = printed("HEAD", "bare")
    assert re.search(r"unknown.auroc +│ - +│ - +│", text)
    assert "HEAD: unknown.auroc: no unknown pill in test\n" in text
    row = r"top1 +│ 0.948  \[0.938, 0.958\] │ 0.918  -0.03 worse │ 0.918  -0.03 +│"
    assert re.search(row, text)
    assert re.search(r"classification.ece +│ 0.02 +│ 0.02  \+0 +│", text)


@pytest.mark.slow
def test_the_cure_for_a_revision_without_evaluation_json_brings_it(project, printed) -> None:
    words = "bare: no intervals: .* neither committed .*Measure it: (git checkout .*)"
    cure = re.search(words, printed("bare"))
    run(project, "git", "stash", "-q")
    run(project, "bash", "-c", cure.group(1))
    assert json.loads(printed("HEAD", "--json"))["columns"][0]["missing"] is None


def test_an_unknown_revision_or_no_repository_is_refused(project, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(project)
    with pytest.raises(DataError, match="nope is neither a revision nor an experiment") as refusal:
        compare.compare(["nope"])
    assert "long" in run(project, *re.search("dvc exp list -A", refusal.value.cure).group().split())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="in no DVC repository"):
        compare.compare([])


@pytest.mark.parametrize(
    ("top1", "with_interval", "verdict"),
    [(0.93, True, "better"), (0.915, True, "same"), (0.8, True, "worse"), (0.8, False, None)],
)
def test_better_and_worse_are_outside_both_intervals(top1, with_interval, verdict) -> None:
    def cell(value):
        interval = {"low": value - 0.01, "high": value + 0.02}
        return {"value": value, "interval": interval if with_interval else None}

    assert compare.verdict(cell(top1), cell(0.9)) == verdict
