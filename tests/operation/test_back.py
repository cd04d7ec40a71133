"""The way back to the committed parameters, from every state that an experiment leaves."""

import pytest
from typer.testing import CliRunner

from make.tiny_project import run
from pillsnap.cli import app
from pillsnap.errors import MachineError
from pillsnap.operation import back


@pytest.fixture
def committed(project):
    (project / "dvc.lock").write_text("schema: '2.0'\n")
    run(project, "sh", "-c", "git init -q; git add *.yaml dvc.lock; git commit -qm first")
    return project


EDITED = "echo scale: stage3 > params.yaml; echo stages: > dvc.lock"
STATES = {
    "edited": EDITED, "staged": f"{EDITED}; git add -A",
    "staged and edited": f"{EDITED}; git add -A; echo '<<<<<<< HEAD' > params.yaml",
    "deleted": "rm params.yaml; git rm -q dvc.lock",
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
def test_both_files_are_as_committed_again(committed, state):
    run(committed, "sh", "-c", STATES[state])
    (committed / "notes.txt").write_text("the user's own")
    kept = {p.name: p.read_text() for p in map(committed.joinpath, back.FILES) if p.exists()}
    done = CliRunner().invoke(app, ["train", "--back"])
    assert done.exit_code == 0, done.output
    assert run(committed, "git", "status", "--porcelain", "params.yaml", "dvc.lock") == ""
    assert (committed / "notes.txt").exists()
    assert {path.name: path.read_text() for path in (committed / back.KEPT).glob("*")} == kept
    assert "nothing to do" in back.restore(committed)


def test_a_lock_file_that_was_never_committed_is_left_alone(committed):
    run(committed, "sh", "-c", f"git rm -q --cached dvc.lock; git commit -qm without; {EDITED}")
    assert back.restore(committed).startswith("params.yaml are as committed again")
    assert "stages" in (committed / "dvc.lock").read_text()


def test_without_a_commit_there_is_no_way_back_and_the_cure_makes_one(project):
    with pytest.raises(MachineError, match="not a git repository") as refused:
        back.restore(project)
    run(project, "sh", "-c", refused.value.cure)
    assert "nothing to do" in back.restore(project)
