"""What git says of the repository, read only: whether DVC experiments can run here."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 20.0


@dataclass(frozen=True)
class GitState:
    """Branch, commit (short), number of changed files, who commits; what hinders experiments."""

    branch: str = ""
    commit: str = ""
    changed: int = 0
    identity: str = ""
    hindrance: str = ""
    cure: str = ""


def read(root: Path) -> GitState:
    """The state of the repository at `root`; takes no lock and writes nothing."""
    if _git(root, "rev-parse", "--git-dir") is None:
        return GitState(
            hindrance="no git repository here (or no git)",
            cure="git init && git add -A && git commit -m PillSnap",
        )
    commit = _git(root, "rev-parse", "--short", "HEAD")
    if commit is None:
        return GitState(hindrance="no commit yet", cure="git add -A && git commit -m PillSnap")
    # Stricter than git, as DVC is: a name guessed from the host does not count.
    name = os.environ.get("GIT_COMMITTER_NAME") or _git(root, "config", "user.name")
    address = os.environ.get("GIT_COMMITTER_EMAIL") or _git(root, "config", "user.email")
    if not name or not address:
        return GitState(
            hindrance="git does not know who you are",
            cure='git config user.name "Your Name" && git config user.email you@example.org',
        )
    changed = _git(root, "status", "--porcelain", "--untracked-files=normal") or ""
    branch = _git(root, "rev-parse", "--abbrev-ref", "HEAD") or ""
    return GitState(branch, commit, len(changed.splitlines()), f"{name} <{address}>")


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
