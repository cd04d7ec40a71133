"""What the tests of operation share."""

import pytest

from make.made_project import make_project


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A made repository under a path with a blank, as working folder; no hub is asked."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = make_project(tmp_path / "a project")
    monkeypatch.chdir(folder)
    return folder
