"""kill -9 reaches a trainer alone: what it has started must end by itself."""

import psutil
import pytest

from make import training_project as project


@pytest.mark.slow
def test_a_killed_trainer_leaves_no_process(tmp_path):
    folder = project.make(tmp_path / "p", train=400, epochs=50, num_workers=2)
    process = project.begun(folder, project.start(folder))
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 3  # two loaders and the process that forks them
    project.kill(process.pid)
    process.wait()
    _, alive = psutil.wait_procs(family, 10)
    for one in alive:
        one.kill()
    assert not alive
