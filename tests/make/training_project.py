"""A folder in which one of the trainings runs as a program, on coloured squares."""

import os
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pandas as pd
import psutil
import yaml

from make import crop_files, detection_files
from make.import_graph import ROOT, SRC
from pillsnap.dataset import manifest
from pillsnap.training import checkpoints

CLASSES = 4
AT_SCALE = {
    "crop_px": 32, "image_px": 32, "repeats": 2, "classes": CLASSES, "detection_px": 96,
}  # fmt: skip


def make(folder: Path, train: int = 70, **of_train: object) -> Path:
    """What the classifier's stage reads; `of_train` are keys of `train` in params.yaml."""
    crop_files.write(folder / "data/demo/crops", train=train, val=25, classes=CLASSES)
    rows = [dict.fromkeys(manifest.CLASS_COLUMNS, 0) | {"class_index": i} for i in range(CLASSES)]
    (folder / "artifacts/demo").mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / "artifacts/demo/classes.csv", index=False)
    return _with_code(folder, {"epochs": 4, "batch_size": 16} | of_train)


def make_detection(folder: Path, frames: int = 40, **of_train: object) -> Path:
    detection_files.write(folder / "data/demo/detection", frames)
    return _with_code(folder, {"epochs": 4, "detection_batch_size": 8} | of_train)


def make_two(folder: Path, task: str = "classification", **of_train: object) -> Path:
    two = {"devices": 2, "epochs": 6} | of_train
    return make_detection(folder, **two) if task == "detection" else make(folder, 200, **two)


def _with_code(folder: Path, of_train: dict[str, object]) -> Path:
    (folder / "src").symlink_to(SRC)
    (folder / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    tree["scales"]["demo"] |= AT_SCALE
    tree["train"] |= {"num_workers": 0, "device": "cpu"} | of_train
    (folder / "params.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return folder


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1", **more}


def start(folder: Path, *prefix: str, **more: str) -> subprocess.Popen[bytes]:
    """The stage as a running program; `prefix` precedes its name instead of Python."""
    with (folder / "printed.txt").open("wb") as printed:
        return subprocess.Popen(
            [*(prefix or (sys.executable,)), f"src/train_{_task(folder)}.py"], cwd=folder,
            env=environment(**more), stdout=printed, stderr=subprocess.STDOUT,
        )  # fmt: skip


def _task(folder: Path) -> str:
    return "detection" if (folder / "data/demo/detection").exists() else "classification"


def finish(folder: Path, *prefix: str, **more: str) -> str:
    """Run the stage to its end; sha256 of the weights."""
    code = start(folder, *prefix, **more).wait()
    assert code == 0, printed(folder)
    return weights_hash(folder)


def printed(folder: Path) -> str:
    return (folder / "printed.txt").read_text()


def published(folder: Path) -> Path:
    return folder / f"artifacts/demo/checkpoints/demo_{_task(folder)}_best.pt"


def weights_hash(folder: Path) -> str:
    weights, _ = checkpoints.load_published(published(folder))
    return checkpoints.weights_hash(weights)


def events(folder: Path, kind: str) -> list[dict]:
    path = folder / "artifacts/demo/live/events.jsonl"
    lines = path.read_bytes().rpartition(b"\n")[0].splitlines() if path.exists() else []
    return [event for event in map(orjson.loads, lines) if event["kind"] == kind]


def begun(folder: Path, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """The same program once an epoch is complete; fails when it ends before."""
    while not events(folder, "epoch"):
        assert process.poll() is None, printed(folder)
        time.sleep(0.01)
    return process


def ranks_of(process: subprocess.Popen[bytes]) -> dict[int, psutil.Process]:
    variables = {child: child.environ() for child in psutil.Process(process.pid).children()}
    return {int(own["RANK"]): child for child, own in variables.items() if "RANK" in own}
