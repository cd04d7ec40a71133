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
    run(folder, "git", "init", "-q")
    run(folder, "git", "add", "params.yaml", "dvc.lock", "dvc.yaml")
    run(folder, "git", "commit", "-qm", "first")
    monkeypatch.chdir(folder)
    return folder


def edited(project):
    (project / "params.yaml").write_text("scale: stage3\n")
    (project / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")


def staged(project):
    edited(project)
    run(project, "git", "add", "-A")


def staged_and_edited(project):
    staged(project)
    (project / "params.yaml").write_text("<<<<<<< HEAD\n")


def deleted(project):
    (project / "params.yaml").unlink()
    run(project, "git", "rm", "-q", "dvc.lock")


@pytest.mark.parametrize("change", [edited, staged, staged_and_edited, deleted])
def test_both_files_are_as_committed_again(project, change):
    change(project)
    (project / "notes.txt").write_text("the user's own")
    kept = {p.name: p.read_text() for p in map(project.joinpath, back.FILES) if p.exists()}
    done = CliRunner().invoke(app, ["train", "--back"])
    assert done.exit_code == 0, done.output
    assert run(project, "git", "status", "--porcelain", "params.yaml", "dvc.lock") == ""
    assert (project / "notes.txt").exists()
    assert {path.name: path.read_text() for path in (project / back.KEPT).glob("*")} == kept
    assert "nothing to do" in back.restore(project)


def test_a_lock_file_that_was_never_committed_is_left_alone(project):
    run(project, "git", "rm", "-q", "--cached", "dvc.lock")
    run(project, "git", "commit", "-qm", "without")
    edited(project)
    assert back.restore(project).startswith("params.yaml are as committed again")
    assert "stages" in (project / "dvc.lock").read_text()


def test_without_a_commit_there_is_no_way_back_and_the_cure_makes_one(tmp_path):
    folder = make_project(tmp_path)
    with pytest.raises(MachineError, match="not a git repository") as refused:
        back.restore(folder)
    run(folder, "sh", "-c", refused.value.cure)
    assert "nothing to do" in back.restore(folder)
