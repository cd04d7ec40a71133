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
    """Branch, commit, changed files and who commits, as text; what hinders experiments."""

    summary: str = ""
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
    missing = {
        here.error: "" if here.ok else "git init",
        "git has no name and e-mail address to commit with": "" if name and address else IDENTITY,
        "no commit yet": "" if commit.ok else "git add -A && git commit -m PillSnap",
    }
    missing = {hindrance: cure for hindrance, cure in missing.items() if cure}
    if missing:
        return GitState(hindrance=next(iter(missing)), cure=" && ".join(missing.values()))
    changed = git(root, "status", "--porcelain", "--untracked-files=normal").out.splitlines()
    branch = git(root, "rev-parse", "--abbrev-ref", "HEAD").out
    files = f", changed files: {len(changed)}" if changed else ""
    return GitState(f"{branch} at {commit.out}{files}, {name} <{address}>")


def git(root: Path, *arguments: str, locks: bool = False) -> GitOutput:
    """The answer of a git command in `root`, in English; `locks` for one that writes."""
    command = ["git", *([] if locks else ["--no-optional-locks"]), *arguments]
    own = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, cwd=root, env=own, capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except FileNotFoundError:
        return GitOutput(False, error=NOT_INSTALLED)
    except (OSError, subprocess.TimeoutExpired) as error:
        return GitOutput(False, error=str(error))
    first_line = done.stderr.strip().partition("\n")[0]
    return GitOutput(done.returncode == 0, done.stdout.strip(), first_line.removeprefix("fatal: "))
