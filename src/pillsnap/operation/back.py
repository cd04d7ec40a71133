"""The way back from an experiment: params.yaml and dvc.lock as they were committed."""

import shutil
from pathlib import Path

from pillsnap.errors import MachineError
from pillsnap.operation import git_state

FILES = ("params.yaml", "dvc.lock")
KEPT = Path(".checkpoints/back")


def restore(root: Path) -> str:
    """Take both files from the last commit, also where DVC staged them; returns what was done."""
    state = git_state.read(root)
    committed = git_state.git(root, "ls-tree", "--name-only", "HEAD", *FILES).out.split()
    if not committed:
        raise MachineError(
            f"There is no committed params.yaml to go back to: {state.hindrance or 'not in HEAD'}.",
            state.cure or "git add params.yaml && git commit -m parameters",
        )
    changed = git_state.git(root, "diff", "--name-only", "HEAD", "--", *committed).out.split()
    if not changed:
        return f"{' and '.join(committed)} are as committed: nothing to do."
    (root / KEPT).mkdir(parents=True, exist_ok=True)
    for name in changed:
        if (root / name).is_file():
            shutil.copy(root / name, root / KEPT / name)
    done = git_state.git(root, "checkout", "HEAD", "--", *committed, locks=True)
    names = " and ".join(changed)
    if not done.ok:
        raise MachineError(f"git cannot restore {names}: {done.error}.", "git status")
    return (
        f"{names} are as committed again; the replaced ones are in {KEPT}/. "
        "dvc repro brings back the outputs (from DVC's cache, where they are there)."
    )
