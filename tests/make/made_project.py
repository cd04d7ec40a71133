"""A repository for the tests: the project's params.yaml, a made dvc.yaml, a `dvc` that acts."""

import subprocess
import sys
from pathlib import Path

import yaml

from pillsnap import params
from pillsnap.operation.point import Point
from pillsnap.params import Params

REPOSITORY = Path(__file__).parents[2]

PIPELINE = {
    "stages": {
        "build_manifest": {
            "desc": "Choose photos.",
            "cmd": "python src/build_manifest.py",
            "deps": ["data/fingerprints/${scale}.json"],
            "params": ["scale", "scales.${scale}.samples"],
            "outs": ["artifacts/${scale}/classes.csv"],
        },
        "train_classification": {
            "cmd": "python src/train_classification.py",
            "deps": ["artifacts/${scale}/classes.csv"],
            "params": ["scale", "train.epochs", "train.lr"],
            "outs": [{"artifacts/${scale}/live.json": {"cache": False}}],
        },
        "evaluate": {
            "cmd": "python src/evaluate.py",
            "deps": ["artifacts/${scale}/live.json"],
            "params": ["scale", "evaluate"],
            "outs": ["artifacts/${scale}/figures"],
        },
    }
}


def make_project(folder: Path) -> Path:
    """A folder that looks like the repository: params.yaml, dvc.yaml, .dvc, a drawn data root."""
    folder.mkdir(parents=True, exist_ok=True)
    tree = yaml.safe_load((REPOSITORY / "params.yaml").read_text("utf-8"))
    tree["train"]["num_workers"] = 0
    tree["scales"]["demo"]["root"] = "data/demo"
    (folder / "params.yaml").write_text(yaml.safe_dump(tree), "utf-8")
    (folder / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE, sort_keys=False), "utf-8")
    (folder / ".dvc").mkdir(exist_ok=True)
    shard = folder / "data/demo/train/images/single/TS_1_single/K-000001"
    shard.mkdir(parents=True, exist_ok=True)
    for number in range(3):
        (shard / f"K-000001_{number}.png").write_bytes(bytes([number]) * 40_000)
    return folder


def loaded(project: Path, **changes: object) -> Params:
    """The project's parameters; changed are keys at the top or, by a dictionary, in sections."""
    tree = params.read(project / "params.yaml")
    for name, value in changes.items():
        if isinstance(value, dict):
            tree[name] |= value
        else:
            tree[name] = value
    return params.parse(tree, project / "params.yaml")


def by_name(points: list[Point]) -> dict[str, Point]:
    """The points of a checklist by their names."""
    return {point.name: point for point in points}


def make_git(folder: Path, commit: bool = False) -> None:
    """A git repository with an identity; `commit` is one of an empty tree."""
    subprocess.run(["git", "init", "-q", "-b", "main", folder], check=True)
    config = folder / ".git/config"
    config.write_text(config.read_text() + "[user]\nname = A Tester\nemail = t@example.org\n")
    if commit:
        command = ["git", "commit", "-q", "--allow-empty", "-m", "first"]
        subprocess.run(command, cwd=folder, check=True)


def make_dvc(folder: Path, body: str) -> Path:
    """A folder of programs whose `dvc` is Python code `body`; returns the path of its `python`."""
    folder.mkdir()
    python = folder / "python"
    python.symlink_to(Path(sys.executable).resolve())
    program = folder / "dvc"
    # The venv may lie under a path with a space, which no first line can name
    program.write_text(f"#!{Path(sys.executable).resolve()}\n{body}")
    program.chmod(0o755)
    return python
