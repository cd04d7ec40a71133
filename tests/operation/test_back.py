"""The way back to the committed parameters, from every state that an experiment leaves."""

import pytest
from typer.testing import CliRunner

from make.made_project import make_project
from make.tiny_project import run
from pillsnap.cli import app
from pillsnap.errors import MachineError
from pillsnap.operation import back


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = make_project(tmp_path / "a project")
    (folder / "dvc.lock").write_text("schema: '2.0'\n")
    run(folder, "sh", "-c", "git init -q; git add *.yaml dvc.lock; git commit -qm first")
    monkeypatch.chdir(folder)
    return folder


EDITED = "echo scale: stage3 > params.yaml; echo stages: > dvc.lock"
STATES = {
    "edited": EDITED, "staged": f"{EDITED}; git add -A",
    "staged and edited": f"{EDITED}; git add -A; echo '<<<<<<< HEAD' > params.yaml",
    "deleted": "rm params.yaml; git rm -q dvc.lock",
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
def test_both_files_are_as_committed_again(project, state):
    run(project, "sh", "-c", STATES[state])
    (project / "notes.txt").write_text("the user's own")
    kept = {p.name: p.read_text() for p in map(project.joinpath, back.FILES) if p.exists()}
    done = CliRunner().invoke(app, ["train", "--back"])
    assert done.exit_code == 0, done.output
    assert run(project, "git", "status", "--porcelain", "params.yaml", "dvc.lock") == ""
    assert (project / "notes.txt").exists()
    assert {path.name: path.read_text() for path in (project / back.KEPT).glob("*")} == kept
    assert "nothing to do" in back.restore(project)


def test_a_lock_file_that_was_never_committed_is_left_alone(project):
    run(project, "sh", "-c", f"git rm -q --cached dvc.lock; git commit -qm without; {EDITED}")
    assert back.restore(project).startswith("params.yaml are as committed again")
    assert "stages" in (project / "dvc.lock").read_text()


def test_without_a_commit_there_is_no_way_back_and_the_cure_makes_one(tmp_path):
    folder = make_project(tmp_path)
    with pytest.raises(MachineError, match="not a git repository") as refused:
        back.restore(folder)
    run(folder, "sh", "-c", refused.value.cure)
    assert "nothing to do" in back.restore(folder)
