"""docs/tools.md: its commands and programs run, in their order, in an evaluated project."""

import contextlib
import re
import shutil
import sys
from types import SimpleNamespace

import faster_coco_eval
import pytest
from typer.testing import CliRunner

from make import evaluated_project
from make.import_graph import ROOT
from pillsnap.cli import app
from pillsnap.dataset.frames import FrameStore
from pillsnap.validation.detection_set import DetectionWriter

BLOCKS = re.findall(
    r"^```(\w*)\n(.*?)^```", (ROOT / "docs/tools.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
)
SMALL = "imgsz=64 device=cpu workers=0 plots=False verbose=False"
OTHERS = {"fiftyone"}  # not installed with the developers' packages


@pytest.fixture
def project(tmp_path_factory, tmp_path, monkeypatch):
    """A copy with a detection set and an event log, as working folder."""
    made = evaluated_project.made(tmp_path_factory.getbasetemp())
    folder = tmp_path / "project"
    shutil.copytree(made.artifacts_dir.parents[1], folder)
    monkeypatch.chdir(folder)
    writer = DetectionWriter(folder / "data" / made.scale / "detection")
    store = FrameStore(made.frames("val"))
    for at in range(4):
        row = store.arrow.slice(at, 1).to_pylist()[0]
        box = [[row["pills"][0][f"box_{side}"] for side in "xywh"]]
        size = row["width"], row["height"]
        writer.add(("train", "val")[at % 2], f"{at}.png", row["jpeg"], box, size)
    writer.finish()
    event = '{"stage": "train_detection", "kind": "epoch", "epoch": 1, "metrics": {"map50": 0.5}}\n'
    (made.artifacts_dir / "live").mkdir(exist_ok=True)
    (folder / "artifacts" / made.scale / "live" / "events.jsonl").write_text(event)
    return folder


def test_the_page_does_what_it_shows(project, monkeypatch, tmp_path):
    from ultralytics.cfg import entrypoint

    logged = []
    tracker = SimpleNamespace(
        start_run=contextlib.nullcontext,
        log_metric=lambda name, value, step: logged.append((name, value, step)),
    )
    monkeypatch.setitem(sys.modules, "mlflow", tracker)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    faster_coco_eval.init_as_pycocotools()
    done = 0
    for language, block in BLOCKS:
        if language == "python":
            if not any(f"import {name}" in block for name in OTHERS):
                exec(compile(block, "docs/tools.md", "exec"), {})
                done += 1
            continue
        for line in block.splitlines():
            if line.startswith("yolo"):
                entrypoint(f"{line} {SMALL} project={tmp_path / 'runs'}")
            else:
                answer = CliRunner().invoke(app, line.split()[1:])
                assert answer.exit_code == 0, (line, answer.output, answer.exception)
            done += 1
    assert done == len(re.findall(r"^(?:pillsnap|yolo) ", "".join(b for _, b in BLOCKS), re.M)) + 5
    assert logged == [("train_detection/map50", 0.5, 1)]
    assert list(tmp_path.glob("runs/**/best.pt"))
