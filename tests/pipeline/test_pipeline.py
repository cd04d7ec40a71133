"""The real pipeline on a tiny drawn set, in a repository of its own whose path has a space."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from functools import partial

import httpx
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from make import tiny_project
from make.import_graph import ROOT
from make.tiny_project import run, stages_run
from operation.test_diagnosis import FACTS
from pillsnap.dataset.crops import CropStore
from pillsnap.evaluation import outputs
from pillsnap.operation.diagnosis import explain

pytestmark = pytest.mark.slow
SCALING = (ROOT / "docs/scaling.md").read_text("utf-8")
COMMIT = re.search("dvc commit --force train_[a-z]+", SCALING)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return tiny_project.demo_run(tmp_path_factory, "with a space", "알약")


def epochs(folder, model):
    tsv = folder / f"artifacts/demo/live/{model}/plots/metrics/loss/train.tsv"
    return pd.read_csv(tsv, sep="\t")["step"].tolist()


def test_second_repro_runs_nothing_and_a_forced_one_gives_the_same_bytes(project):
    assert stages_run(run(project, "dvc", "repro")) == []
    assert "up to date" in run(project, "dvc", "status")
    before = (project / "dvc.lock").read_text()
    shutil.rmtree(project / ".checkpoints")
    [cure, _] = explain(255, "CUDA error: device-side assert triggered", FACTS).cures
    run(project, *cure.split())
    assert (project / "dvc.lock").read_text() == before


def test_an_experiment_in_a_copy_runs_after_the_cure_for_paths_beyond_ascii(project, tmp_path):
    printed = run(project, "dvc", "exp", "run", "--temp", code=255)
    found = explain(255, printed, FACTS)
    run(project, "sh", "-ec", found.cures[1], HOME=str(tmp_path))
    assert "Ran experiment(s)" in run(project, "dvc", "exp", "run", "--temp")
    run(project, "dvc", "config", "--local", "--unset", "cache.dir")


def test_a_service_for_all_addresses_answers_who_has_the_key(project):
    photo = next(project.glob("data/demo/train/images/single/*/*/*.png")).read_bytes()
    words = re.search(r"pillsnap serve --host \S+", (ROOT / "docs/ko/use.md").read_text("utf-8"))
    own = tiny_project.environment(project, PILLSNAP_API_KEY="k" * 16)
    command = [*words.group().split(), "--port", "0"]
    with subprocess.Popen(command, cwd=project, env=own, stderr=subprocess.PIPE) as process:
        url = re.search(r"http://[^\s/]+", process.stderr.readline().decode()).group()
        ask = partial(httpx.post, f"{url}/v1/recognise", content=photo, timeout=60)
        kind = {"content-type": "image/png"}
        codes = [ask(headers=kind | key).status_code for key in ({"x-api-key": "k" * 16}, {})]
        process.terminate()
    assert codes == [200, 401]


def test_metrics_hold_the_contract_and_curves_every_epoch_once(project):
    metrics = json.loads((project / "artifacts/demo/metrics.json").read_text())
    whole = json.loads((project / "artifacts/demo/evaluation.json").read_text())
    assert metrics == outputs.headlines(whole)
    assert metrics["training"]["epochs"] == 2
    shown = json.loads(run(project, "dvc", "metrics", "show", "--json"))
    assert list(shown[""]["data"]) == ["artifacts/demo/metrics.json"]  # a column for each headline
    assert epochs(project, "detection") == epochs(project, "classification") == [1, 2]


def test_experiment_with_another_batch_size_reruns_classification_and_evaluation(project):
    printed = run(project, "dvc", "exp", "run", "-S", "train.batch_size=24")
    assert stages_run(printed) == ["train_classification", "evaluate"]
    assert "artifacts/demo/metrics.json" in run(project, "dvc", "metrics", "diff")
    run(project, "dvc", "exp", "run", "-S", "train.batch_size=32")


def test_plots_page_needs_no_network(project):
    run(project, "dvc", "plots", "show")
    page = (project / "dvc_plots/index.html").read_text(encoding="utf-8")
    assert "https://cdn" not in page
    for title in ("detection loss", "classification accuracy", "reliability", "confusions (true"):
        assert title in page
    assert page.count("<img") >= 2


def kill_within_training(project, stage):
    """Start dvc repro, kill -9 dvc and the trainer once its first epoch is complete."""
    events = project / "artifacts/demo/live/events.jsonl"
    offset = events.stat().st_size
    started = subprocess.Popen(
        ["dvc", "repro"], cwd=project, env=tiny_project.environment(project),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and started.poll() is None:
        printed = events.read_bytes()[offset:].decode().splitlines()
        lines = [json.loads(line) for line in printed if line.endswith("}")]
        if any(line["stage"] == stage and line["kind"] == "epoch" for line in lines):
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()
            return
        time.sleep(0.05)
    pytest.fail(f"{stage} was not seen training")


def test_the_cure_of_val_crops_without_known_pills_works(project):
    crops = project / "data/demo/crops"
    before = (crops / "val.arrow").read_bytes()
    rows = CropStore(crops / "test.arrow").arrow
    with pa.ipc.new_file(crops / "val.arrow", rows.schema) as unknown:
        unknown.write_table(rows.filter(pc.invert(rows["known"])))
    printed = run(project, "python", "src/evaluate.py", code=1)
    cure = printed[printed.index("dvc repro") :].split("\n")[0].split()
    run(project, *cure)
    assert (crops / "val.arrow").read_bytes() == before


@pytest.mark.parametrize(
    ("model", "change"), [("detection", {"hue": 0.02}), ("classification", {"blur": 0.2})]
)
def test_killed_training_resumes_after_its_last_epoch(project, model, change):
    stage = f"train_{model}"
    tiny_project.set_params(project, {stage: change, "train": {"epochs": 4}})
    kill_within_training(project, stage)
    if stage in COMMIT.group():  # by hand, as on several hosts
        assert "resuming after epoch" in run(project, "python", f"src/{stage}.py")
        run(project, *COMMIT.group().split())
        assert stages_run(run(project, "dvc", "repro")) == ["evaluate"]
    else:
        assert "resuming after epoch" in run(project, "dvc", "repro", stage)
    assert epochs(project, model) == [1, 2, 3, 4]
    summary = json.loads((project / f"artifacts/demo/live/{model}/summary.json").read_text())
    assert summary["resumed"] == 1


def test_stage3_without_a_root_says_what_to_set_and_the_way_back_leads_back(project):
    tiny_project.set_params(project, {"scales.stage3": tiny_project.TINY_SCALE})
    run(project, "git", "add", "-A")
    run(project, "git", "commit", "-qm", "before", "--allow-empty")
    printed = run(project, "dvc", "exp", "run", "-S", "scale=stage3", code=255)
    assert "Traceback" not in printed
    root = {re.search("export ([A-Z_]+)=", printed)[1]: str(project / "data/demo")}
    run(
        project, *re.search("run `(pillsnap fingerprint)`, then repeat", printed)[1].split(), **root
    )
    again = ("dvc", "exp", "run", "-S", "scale=stage3", "build_manifest")
    assert stages_run(run(project, *again, **root)) == ["build_manifest"]
    assert "params.yaml" in run(project, "git", "status", "--porcelain")
    assert "Back to the committed params.yaml: pillsnap train --back" in printed
    run(project, "pillsnap", "train", "--back")
    assert run(project, "git", "status", "--porcelain", "params.yaml", "dvc.lock") == ""


def test_metrics_of_another_evaluation_are_refused_and_the_offered_command_restores_them(project):
    path = project / "artifacts/demo/metrics.json"
    tree = json.loads(path.read_text())
    tree["detection"]["map50"] = 0.123
    path.write_text(json.dumps(tree))
    printed = run(project, "pillsnap", "targets", code=1)
    assert "not of the checkpoints on disk" in printed
    assert "\n  -> dvc repro\n" in printed
    run(project, "dvc", "repro")
    assert json.loads(path.read_text())["detection"]["map50"] != 0.123
    done = subprocess.run(
        ["pillsnap", "targets"],
        cwd=project,
        env=tiny_project.environment(project),
        capture_output=True,
    )
    assert b"not of the checkpoints" not in done.stdout


def test_the_first_command_in_a_clone_says_how_to_draw_the_demo(project, tmp_path):
    run(tmp_path, "git", "clone", "-q", project, "clone")
    for command in (("exp", "run", "-S", "seed=3"), ("repro",), ("exp", "run", "-S", "seed=3")):
        printed = run(tmp_path / "clone", "dvc", *command, code=255)
        assert "The demo's photos are not in data/demo.\n  -> python3 run.py demo" in printed
