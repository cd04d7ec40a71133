"""What every test run shares."""

import os
import signal
from pathlib import Path

# Programs that tests start find the package and the makers of this very checkout.
os.environ["PYTHONPATH"] = os.pathsep.join(
    str(Path(__file__).parents[1] / name) for name in ("src", "tests")
)
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads of parallel runs must not spin
# A shell that starts us in the background has SIGINT ignored, nohup SIGHUP, and programs we start
# inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

import pytest  # noqa: E402
import torch  # noqa: E402

pytest_plugins = ["make.browser"]


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small models are faster so, and sums come out in one order."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory):
    """The places of an evaluated project, made once: look, do not touch."""
    from make import evaluated_project  # brings Ultralytics: not for every run

    return evaluated_project.made(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def exported(evaluated, tmp_path_factory):
    """Its release bundle: look, do not touch."""
    from make import evaluated_project

    return evaluated_project.exported(tmp_path_factory.getbasetemp())


@pytest.fixture(autouse=True)
def own_data_root(monkeypatch):
    """No test sees the user's photos."""
    monkeypatch.delenv("PILLSNAP_DATA_ROOT", raising=False)
