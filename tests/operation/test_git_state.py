"""What git says, in its own words, and cures that help where they are offered."""

import os
import re
import subprocess

import pytest

from pillsnap.operation import git_state
from pillsnap.operation.git_state import IDENTITY


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of its own home, whose git has no settings and no identity."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    made = tmp_path / "a project"
    made.mkdir()
    (made / "params.yaml").write_text("seed: 1\n")
    return made


def sh(folder, command):
    """A command as a user would type it."""
    subprocess.run(command, shell=True, cwd=folder, check=True, stdout=subprocess.DEVNULL)


NO_REPOSITORY = "not a git repository (or any of the parent directories): .git"


@pytest.mark.parametrize(
    ("before", "hindrance"),
    [
        ("true", NO_REPOSITORY),
        (IDENTITY.replace("git config", "git config --global"), NO_REPOSITORY),
        ("git init -q", "git has no name and e-mail address to commit with"),
        (f"git init -q && {IDENTITY}", "no commit yet"),
        (f"git init -q && {IDENTITY} && git add -A && git commit -qm x && rm .git/config",
         "git has no name and e-mail address to commit with"),
    ],
)  # fmt: skip
def test_what_hinders_experiments_is_named_and_its_cure_is_enough(folder, before, hindrance):
    sh(folder, before)
    state = git_state.read(folder)
    assert state.hindrance == hindrance
    sh(folder, state.cure)
    (folder / "new").touch()
    state = git_state.read(folder)
    assert state.hindrance == ""
    assert re.fullmatch(r"\S+ at [0-9a-f]{7,}, changed files: 1, Your Name <you@example.org>",
                        state.summary)  # fmt: skip


def test_a_checkout_that_another_user_owns_keeps_gits_words(folder):
    if os.geteuid():
        pytest.skip("only root can give files away")
    sh(folder, f"git init -q && {IDENTITY} && git add -A && git commit -qm x")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 1234, 1234)
    state = git_state.read(folder)
    assert state.hindrance == f"detected dubious ownership in repository at '{folder}'"
    sh(folder, state.cure)
    assert git_state.read(folder).hindrance == ""


def test_a_machine_without_git_says_so(folder, monkeypatch):
    monkeypatch.setenv("PATH", str(folder))
    assert git_state.read(folder).cure == "Install git: sudo apt install git"
