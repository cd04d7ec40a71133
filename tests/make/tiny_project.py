"""A copy of this repository with a tiny demo, to run the real pipeline in."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

from make.import_graph import ROOT

BIN = Path(sys.executable).parent

TINY_SCALE = {
    "samples": 120, "classes": 6, "combination_share": 0.3, "val_share": 0.25,
    "min_train_per_class": 5, "min_val_per_class": 1, "test_unknown_pills": 10,
    "detection_single_frames": 8, "evaluation_frames": 12, "crop_px": 48, "frame_px": 96,
    "image_px": 32, "repeats": 1, "detection_px": 96,
}  # fmt: skip
TINY_DEMO = {
    "classes": 8, "unknown_classes": 2, "unknown_twins": 1, "unknown_photos": 18,
    "phone_photos": 1, "photos_per_group": 1, "combination_folders": 8,
    "test_combination_folders": 3, "frame_width_px": 244, "frame_height_px": 320,
}  # fmt: skip


def copy_to(folder: Path) -> Path:
    """The files git would commit, in a repository of their own, with a tiny demo scale."""
    listing = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    names = subprocess.check_output(listing, cwd=ROOT, text=True)
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / "dvc.lock").unlink(missing_ok=True)
    set_params(folder, {"scales.demo": TINY_SCALE, "demo": TINY_DEMO, "train": {"epochs": 2}})
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "tiny"]):
        run(folder, "git", *command)
    return folder


def after_demo(folder: Path) -> Path:
    assert "classification.top1" in run(copy_to(folder), "pillsnap", "demo")
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "demo ran")
    return folder


@cache
def _demo_run(base: Path) -> Path:
    folder = base / "demo run"
    folder.mkdir()
    return after_demo(folder)


def demo_run(factory: pytest.TempPathFactory, parent: str, name: str) -> Path:
    """A project after its demo, which runs once for all tests of a process."""
    folder = factory.mktemp(parent) / name
    return shutil.copytree(_demo_run(factory.getbasetemp()), folder)


def demo_run_with_remote(factory: pytest.TempPathFactory, parent: str, name: str) -> Path:
    """The same with a DVC remote beside it that holds all outputs, committed."""
    folder = demo_run(factory, parent, name)
    run(folder, "dvc", "remote", "add", "-q", "-d", "shelf", "../shelf")
    run(folder, "dvc", "push", "-q")
    run(folder, "git", "commit", "-qam", "a remote")
    return folder


def set_params(folder: Path, changes: dict) -> None:
    path = folder / "params.yaml"
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    for section, values in changes.items():
        node = tree
        for part in section.split("."):
            node = node[part]
        node.update(values)
    path.write_text(yaml.safe_dump(tree, allow_unicode=True, sort_keys=False), encoding="utf-8")


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a user in `folder` with the venv activated and a git identity."""
    identity = {
        "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org",
        "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.org",
    }  # fmt: skip
    base = {key: value for key, value in os.environ.items() if key != "PILLSNAP_DATA_ROOT"}
    path = f"{BIN}{os.pathsep}{base.get('PATH', '')}"
    own = {"PATH": path, "PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1"}
    return {**base, **identity, **own, **more}


def run(folder: Path, *command: str, code: int = 0, **more: str) -> str:
    """Run a command in the project; its output; fails on another exit code."""
    done = subprocess.run(
        command, cwd=folder, env=environment(folder, **more), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == code, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def stages_run(printed: str) -> list[str]:
    return [line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage")]
