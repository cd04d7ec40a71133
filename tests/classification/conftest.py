import pytest

from make import crop_files
from make.small_training import fit, plan
from pillsnap.training import checkpoints


@pytest.fixture(scope="session")
def crops_dir(tmp_path_factory):
    return crop_files.write(tmp_path_factory.mktemp("crops"))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, crops_dir):
    trained = fit(tmp_path_factory.mktemp("undisturbed"), crops_dir, plan())
    return checkpoints.weights_hash(trained.weights)
