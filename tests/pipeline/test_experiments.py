"""Experiments: settings that cures offer, each after the failure that offers it, and sweeps."""

import errno
import json
import re
import shlex
import time
from contextlib import chdir
from functools import partial
from pathlib import Path

import pytest
import timm
import yaml
from safetensors.torch import save_file
from typer.testing import CliRunner

from house.test_commands import COMMAND, kind_of, typed
from make import tiny_project
from make.import_graph import ROOT
from make.tiny_project import run, stages_run
from operation.test_diagnosis import FACTS, RECORDED
from pillsnap import files, params
from pillsnap.cli import app
from pillsnap.errors import UserError
from pillsnap.operation import changes, check_gpu, diagnosis, unfinished
from pillsnap.params import load
from pillsnap.training import checkpoints, launch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
EVALUATION = (ROOT / "docs/evaluation.md").read_text("utf-8")
WEIGHTS = "scales.demo.classifier_weights"
SETTINGS = {
    "train.device": "cpu", "train.devices": 1, "train.compile": "off",
    "train.mixed_precision": "off", "train.num_workers": 0, "train.epochs": 1, "train.lr": 3e-4,
}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return tiny_project.demo_run_with_remote(tmp_path_factory, "experiments", "plain")


@pytest.fixture(scope="module")
def settled(project):
    """The project with the results of an experiment that ran in a copy; its settings."""
    weights = project.with_name("start.safetensors")
    save_file(timm.create_model("test_resnet", num_classes=3).state_dict(), weights)
    settings = [f"{key}={value}" for key, value in {WEIGHTS: weights, **SETTINGS}.items()]
    options = [part for setting in settings for part in ("-S", setting)]
    ran = run(project, "dvc", "exp", "run", "--temp", *options)
    assert stages_run(ran)[-1] == "evaluate"
    run(project, "dvc", "exp", "apply", re.search(r"Ran experiment\(s\): (\S+)", ran)[1])
    return options


def of_gc(text):
    return next(command for command in COMMAND.findall(text) if command[1].startswith(" gc"))


def lost_process(**_):
    with pytest.raises(UserError) as refused:
        launch._lost("rank 1 ended with 1", None, None)
    return refused.value.cure


def diagnosed(text, **facts):
    return "\n".join(diagnosis.explain(255, text, {**FACTS, **facts}).cures)


TEXTS = (
    *(text for _, text in RECORDED), "exited with -9", "Too many open files",
    "size mismatch for fc.weight", "invalid magic number", "an unknown failure",
)  # fmt: skip
OFFERED = {  # kind of command: its message, and its place there
    kind_of(*command): (message, place)
    for message in (*(partial(diagnosed, text) for text in reversed(TEXTS)), lost_process)
    for place, command in enumerate(COMMAND.findall(message()))
    if command[1].startswith((" exp run", " train"))
}
FAILED = {  # the values with which a training failed
    "train.device": "cuda", "train.devices": 2, "train.compile": "on", "seed": 2**31,
    "train.mixed_precision": "fp16", "train.num_workers": 8, "train.lr": 3e-3, WEIGHTS: "hub",
    "train.batch_size": 64, "train.detection_batch_size": 32,
}  # fmt: skip


def test_gpus_that_are_not_there_are_left_out_again(project):
    one = check_gpu.Torch("2.15.0", "13.0", (), ("GPU-1",))
    [point] = check_gpu.judge(one, "cuda:3", 1, check_gpu.look)
    before = params.read(project / "params.yaml")
    tiny_project.set_params(project, {"train": {"device": "cuda:3"}})
    [(program, rest)] = COMMAND.findall(point.cure)
    assert stages_run(run(project, program, *typed(program, rest))) == []
    assert params.read(project / "params.yaml") == before
    assert run(project, "git", "diff", "HEAD", "--name-only", "dvc.lock") == ""


@pytest.mark.parametrize("kind", OFFERED)
def test_each_command_for_a_failed_training_leads_to_its_results(
    project, settled, monkeypatch, kind
):
    """The failure is the last line of a log; a training with the offered values has run before, so
    that DVC has its results."""
    monkeypatch.chdir(project)
    before, lock = params.read(Path("params.yaml")), Path("dvc.lock").read_bytes()
    options = {f"--{key.rpartition('.')[2].replace('_', '-')}": key for key in FAILED}
    keys = [options.get(word, word) for word in kind.replace("stage3", "demo").split()]
    failed = changes.applied(before, {key: FAILED[key] for key in keys if key in FAILED})
    Path("params.yaml").write_text(yaml.safe_dump(failed, sort_keys=False))
    with checkpoints.WorkFolder("train_classification", "ab", unfinished.BASE) as unfinished_one:
        unfinished_one.save({"history": [{}]})
    message, place = OFFERED[kind]
    text = message(**diagnosis.gather(load(), Path("logs/train.log")))
    text = text.replace("/path/to/model", str(project.with_name("start")))
    program, rest = COMMAND.findall(text)[place]
    words = typed(program, rest)
    if program == "dvc":
        assert stages_run(run(project, program, *words)) == []
    else:
        own = tiny_project.environment(project, COLUMNS="200")
        done = CliRunner(env=own).invoke(app, words)
        assert (done.exit_code, "Done in" in done.output) == (0, True), done.output
    assert unfinished_one.path.exists() != ("--fresh" in words)
    assert (params.read(Path("params.yaml")), Path("dvc.lock").read_bytes()) == (before, lock)


def test_a_sweep_over_learning_rates_and_what_follows_it(project, settled):
    assert "up to date" in run(project, "dvc", "status")
    rates = ("-S", "train.lr=1e-4,2e-4")
    run(project, "dvc", "exp", "run", "--queue", *settled[:-2], *rates)
    run(project, "dvc", "queue", "start", "--jobs", "2")
    deadline = time.monotonic() + 600
    while re.search("Queued|Running", shown := run(project, "dvc", "queue", "status")):
        assert time.monotonic() < deadline, shown
    assert shown.count("Success") == 2, shown
    first, second = re.findall(r"^[0-9a-f]{7} +(\S+)", shown, re.MULTILINE)
    assert {first, second} <= set(run(project, "dvc", "exp", "list", "--name-only").split())
    assert first in run(project, "dvc", "exp", "list", "-A")
    order = ("--sort-by", "classification.top1", "--sort-order", "desc")
    assert second in run(project, "dvc", "exp", "show", "--only-changed", *order)
    [columns] = re.findall("--drop '(.*)'", EVALUATION)
    shown = run(project, "dvc", "exp", "show", "--only-changed", "--drop", columns, COLUMNS="160")
    assert "unknown.auroc" in shown and "src/pillsnap" not in shown
    run(project, "dvc", "exp", "apply", first)
    with chdir(project):
        assert load().lr in (1e-4, 2e-4) and load().train.compile == "off"
    assert "up to date" in run(project, "dvc", "status")
    run(project, "dvc", "exp", "branch", second, "other")
    assert "other" in run(project, "git", "branch")
    run(project, "dvc", "plots", "diff", "HEAD", "other")
    assert "other" in (project / "dvc_plots/index.html").read_text("utf-8")
    metrics = project / "artifacts/demo/metrics.json"
    tree = json.loads(metrics.read_text())
    tree["classification"]["top1"] = tree["detection"]["map50"] = None
    metrics.write_text(json.dumps(tree))
    assert re.search(r"classification.top1 .* - ", run(project, "dvc", "metrics", "diff", second))
    of_disk = diagnosed("No space left on device"), files.disk_fault(OSError(errno.ENOSPC, "")).cure
    for (program, rest), kept in zip(map(of_gc, of_disk), (False, True), strict=True):
        before = set(project.glob(".dvc/cache/files/md5/??/*"))
        command = shlex.join([program, *typed(program, rest)])
        run(project, "sh", "-ec", f"echo y | script -qec '{command}' /dev/null")  # on a terminal
        assert (before == set(project.glob(".dvc/cache/files/md5/??/*"))) == kept
    run(project, "pillsnap", "train", "--back")
    run(project, "git", "checkout", "-q", "HEAD", "artifacts")
    assert "fetched" in run(project, "dvc", "pull", "--force")
    assert "up to date" in run(project, "dvc", "status")
