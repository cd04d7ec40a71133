"""The state of the git repository, read only: whether DVC experiments can run here."""

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 20.0
NOT_INSTALLED = "git is not installed"
IDENTITY = 'git config user.name "Your Name" && git config user.email you@example.org'


@dataclass(frozen=True)
class GitState:
    """Branch, commit (short), number of changed files, who commits; what hinders experiments."""

    branch: str = ""
    commit: str = ""
    changed: int = 0
    identity: str = ""
    hindrance: str = ""
    cure: str = ""


@dataclass(frozen=True)
class GitOutput:
    """What a git command printed; `error` is its first line on stderr, without `fatal: `."""

    ok: bool
    out: str = ""
    error: str = ""


def read(root: Path) -> GitState:
    """The state of the repository at `root`; takes no lock and writes nothing."""
    here = git(root, "rev-parse", "--git-dir")
    if "dubious ownership" in here.error:
        cure = f"git config --global --add safe.directory {shlex.quote(str(root.resolve()))}"
        return GitState(hindrance=here.error, cure=cure)
    if here.error == NOT_INSTALLED:
        return GitState(hindrance=here.error, cure="Install git: sudo apt install git")
    commit = git(root, "rev-parse", "--short", "HEAD")
    # Stricter than git, as DVC is: a name guessed from the host does not count.
    name = os.environ.get("GIT_COMMITTER_NAME") or git(root, "config", "user.name").out
    address = os.environ.get("GIT_COMMITTER_EMAIL") or git(root, "config", "user.email").out
    lacks = [
        (not here.ok, here.error, "git init"),
        (not (name and address), "git has no name and e-mail address to commit with", IDENTITY),
        (not commit.ok, "no commit yet", "git add -A && git commit -m PillSnap"),
    ]
    missing = [(hindrance, cure) for lack, hindrance, cure in lacks if lack]
    if missing:
        cures = " && ".join(cure for _, cure in missing)
        return GitState(hindrance=missing[0][0], cure=cures)
    changed = git(root, "status", "--porcelain", "--untracked-files=normal").out
    branch = git(root, "rev-parse", "--abbrev-ref", "HEAD").out
    return GitState(branch, commit.out, len(changed.splitlines()), f"{name} <{address}>")


def git(root: Path, *arguments: str, locks: bool = False) -> GitOutput:
    """The answer of a git command in `root`, in English; `locks` for one that writes."""
    optional = [] if locks else ["--no-optional-locks"]
    try:
        done = subprocess.run(
            ["git", *optional, *arguments],
            cwd=root,
            env={**os.environ, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    except FileNotFoundError:
        return GitOutput(False, error=NOT_INSTALLED)
    except (OSError, subprocess.TimeoutExpired) as error:
        return GitOutput(False, error=str(error))
    first_line = done.stderr.strip().partition("\n")[0]
    return GitOutput(done.returncode == 0, done.stdout.strip(), first_line.removeprefix("fatal: "))
