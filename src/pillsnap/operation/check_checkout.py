"""Checklist: the repository's files as git and DVC need them, and where results can go."""

import configparser
import os
import sys
from pathlib import Path

from pillsnap.errors import UserError
from pillsnap.operation import git_state
from pillsnap.operation.diagnosis import known_failures
from pillsnap.operation.point import Point, failed, passed, warned
from pillsnap.params import Params
from pillsnap.places import Places

KEEP_LF = "git ls-files --eol | grep w/crlf | cut -f2 | xargs -d '\\n' sed -i 's/\\r$//'"


def dvc(_params: Params, root: Path) -> list[Point]:
    """DVC is in this environment, and the pipeline is here."""
    program = Path(sys.executable).parent / "dvc"
    if not program.exists():
        return [
            failed("dvc", f"{program} is missing", "python3 run.py check && . .venv/bin/activate")
        ]
    if not (root / "dvc.yaml").is_file() or not (root / ".dvc").is_dir():
        value = f"{root.resolve()} has no dvc.yaml or no .dvc/"
        return [failed("dvc", value, "Run the command in the root of the repository.")]
    config = _config(root)
    cache = config.get("cache", "dir", fallback="") if config else ""
    path = cache or str(root.resolve())
    if not path.isascii():
        value = f"{path} has letters beyond ASCII: no experiments with --temp or --queue"
        return [warned("dvc", value, known_failures()["locale"].cures[-1])]
    return [passed("dvc", f"{program}, dvc.yaml")]


def folders(params: Params, root: Path) -> list[Point]:
    """Outputs can be written, and in no folder that leads out of the repository: DVC refuses it."""
    if not os.access(root, os.W_OK):
        cure = 'Use a clone of your own: git clone "$PWD" ~/pillsnap'
        return [failed("folders", f"{root.resolve()} is not writable", cure)]
    try:
        Places.of(params).check_links(root)
    except UserError as error:
        return [failed("folders", error.fact, error.cure)]
    return [passed("folders", "all outputs are inside the repository")]


def line_ends(_params: Params, root: Path) -> list[Point]:
    """No code or parameter file has CRLF line ends: DVC would take each for another version."""
    paths = [*root.glob("*.yaml"), *root.glob("*.lock"), *root.glob("src/**/*.py")]
    with_crlf = [path.relative_to(root) for path in sorted(paths) if b"\r\n" in path.read_bytes()]
    if not with_crlf:
        return [passed("line ends", "LF")]
    value = f"CRLF in {len(with_crlf)} files, as {with_crlf[0]}: DVC runs all stages again"
    return [warned("line ends", value, KEEP_LF)]


def git(_params: Params, root: Path) -> list[Point]:
    """Whether experiments (changed parameters) can be run, which DVC does with git."""
    state = git_state.read(root)
    if state.hindrance:
        return [warned("git", f"{state.hindrance}: no experiments, only dvc repro", state.cure)]
    return [passed("git", state.summary)]


def remote(params: Params, root: Path) -> list[Point]:
    """Whether results can leave this machine."""
    config = _config(root)
    if config is None:
        return [failed("dvc remote", ".dvc/config cannot be read", "git checkout .dvc/config")]
    default = config.get("core", "remote", fallback="").strip()
    if default:
        return [passed("dvc remote", default)]
    if params.scale == "demo":
        return [passed("dvc remote", "none; the demo needs none")]
    cure = "dvc remote add -d storage <url or folder>, then dvc push"
    return [warned("dvc remote", "none: checkpoints and crops are on this machine only", cure)]


def _config(root: Path) -> configparser.ConfigParser | None:
    """DVC's settings of this repository; None where they cannot be read."""
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read([root / ".dvc" / "config", root / ".dvc" / "config.local"], encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return None
    return config
