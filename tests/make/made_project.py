"""A repository for the tests: the project's params.yaml, an empty dvc.yaml, a `dvc` that acts."""

import sys
from pathlib import Path

import yaml

from make.tiny_project import run
from pillsnap import params
from pillsnap.operation.point import Point
from pillsnap.params import Params

REPOSITORY = Path(__file__).parents[2]


def make_project(folder: Path) -> Path:
    """A folder that looks like the repository: params.yaml, dvc.yaml, .dvc, a drawn data root."""
    folder.mkdir(parents=True, exist_ok=True)
    tree = yaml.safe_load((REPOSITORY / "params.yaml").read_text("utf-8"))
    tree["train"]["num_workers"] = 0
    tree["scales"]["demo"]["root"] = "data/demo"
    (folder / "params.yaml").write_text(yaml.safe_dump(tree), "utf-8")
    (folder / "dvc.yaml").write_text("stages: {}\n", "utf-8")
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
    return {point.name: point for point in points}


def make_git(folder: Path) -> None:
    identity = "git config user.name T && git config user.email t@example.org"
    run(folder, "sh", "-ec", f"git init -q && {identity} && git commit -qm first --allow-empty")


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
