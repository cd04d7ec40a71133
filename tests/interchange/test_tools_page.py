"""docs/tools.md: its commands and programs run, in their order, in an evaluated project."""

import contextlib
import re
import sys
from types import SimpleNamespace

import faster_coco_eval
from typer.testing import CliRunner

from make.import_graph import ROOT
from pillsnap import files
from pillsnap.cli import app

BLOCKS = re.findall(
    r"^```(\w*)\n(.*?)^```", (ROOT / "docs/tools.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
)
SMALL = "imgsz=64 device=cpu workers=0 plots=False verbose=False"
OTHERS = {"fiftyone"}  # not installed with the developers' packages


def test_the_page_does_what_it_shows(places, monkeypatch, tmp_path):
    from ultralytics.cfg import entrypoint

    event = '{"stage": "train_detection", "kind": "epoch", "epoch": 1, "metrics": {"map50": 0.5}}\n'
    files.write_text(places.artifacts_dir / "live/events.jsonl", event)
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
