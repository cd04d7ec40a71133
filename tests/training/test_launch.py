"""Trainings as programs: end the same however they are disturbed, and leave nothing behind."""

import time

import psutil
import pytest

from make import training_project as project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", params=["classification", "detection"])
def task(request):
    return request.param


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, task):
    return project.finish(project.make_two(tmp_path_factory.mktemp("two"), task))


def begun(folder):
    process = project.begun(folder, project.start(folder))
    return process, project.ranks_of(process)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_is_started_again_and_changes_nothing(tmp_path, task, undisturbed, rank):
    folder = project.make_two(tmp_path / "p", task)
    process, ranks = begun(folder)
    ranks[rank].kill()
    assert process.wait() == 0, project.printed(folder)
    assert len(project.events(folder, "start")) == 2, project.printed(folder)
    assert len(project.events(folder, "end")) == 1  # of rank 0 alone
    assert project.weights_hash(folder) == undisturbed


def test_sigterm_saves_within_ten_seconds_and_the_next_call_resumes(tmp_path, task, undisturbed):
    folder = project.make_two(tmp_path / "p", task, num_workers=1)
    process, ranks = begun(folder)
    begun_s = time.monotonic()
    process.terminate()
    assert process.wait() == 130, project.printed(folder)
    assert time.monotonic() - begun_s < 10
    assert not any(rank.is_running() for rank in ranks.values())
    project.finish(folder)
    assert project.events(folder, "end")
    assert project.weights_hash(folder) == undisturbed


def test_a_users_error_is_printed_once_and_not_tried_again(tmp_path):
    folder = project.make_two(tmp_path / "p", lr=1e30)
    assert project.start(folder).wait() == 1
    output = project.printed(folder)
    assert output.count("train_classification: Epoch 1 is unusable") == 1
    assert "Traceback" not in output
    assert "rank 1" not in output
    assert len(project.events(folder, "start")) == 1


def test_killed_launcher_leaves_no_rank(tmp_path, task):
    process, ranks = begun(project.make_two(tmp_path / "p", task))
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(list(ranks.values()), 5)
    assert not alive


def test_a_killed_trainer_leaves_no_process(tmp_path):
    folder = project.make(tmp_path / "p", train=400, epochs=50, num_workers=2)
    process = project.begun(folder, project.start(folder))
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 3  # two loaders and the process that forks them
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(family, 10)
    for one in alive:
        one.kill()
    assert not alive
