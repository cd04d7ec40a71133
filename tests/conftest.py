"""What every test run shares."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads of parallel runs must not spin

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small models are faster so, and sums come out in one order."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_data_root(monkeypatch):
    """No test sees the user's photos."""
    monkeypatch.delenv("PILLSNAP_DATA_ROOT", raising=False)
