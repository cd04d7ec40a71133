from pathlib import Path

import pytest

from make.photo_set import PhotoSet, make


@pytest.fixture
def photos(tmp_path: Path) -> PhotoSet:
    return make(tmp_path)


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> PhotoSet:
    """A set for all tests of a process: look, do not touch."""
    return make(tmp_path_factory.mktemp("photos"))
