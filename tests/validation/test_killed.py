"""validate under kill -9: the next run resumes and ends with the same bytes."""

import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from make.engine_runs import save, start, steps
from make.photo_set import PhotoSet, make, pack


@pytest.fixture
def photos(tmp_path: Path) -> PhotoSet:
    return make(tmp_path, many=600)


def begun(photos: PhotoSet) -> "subprocess.Popen[str]":
    job = save(photos.base / "job.pickle", photos.places, photos.with_(num_workers=2))
    return start(job, "local")


def kill(process: "subprocess.Popen[str]") -> None:
    children = psutil.Process(process.pid).children(recursive=True)
    with process:  # closes its pipe
        process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True], ids=["folders", "in the middle of archives"])
def test_five_kills_change_nothing_and_cost_nothing(photos, packed):
    if packed:
        pack(photos)
    reached = 0
    for last_step in (8, 90, 250, 420, 600):
        process = begun(photos)
        done = steps(process, last_step)
        kill(process)
        assert done[0] >= reached
        reached = done[-1]
    with begun(photos) as process:
        done = steps(process)
    assert process.returncode == 0
    assert done[0] >= reached
    after_kills = photos.outs()
    shutil.rmtree(photos.places.work_dir)
    shutil.rmtree(photos.places.data_dir)
    photos.run()
    assert photos.outs() == after_kills


@pytest.mark.slow
def test_a_kill_while_the_outs_are_written_leaves_them_whole_or_absent(photos):
    photos.run()
    undisturbed = photos.outs()
    total = 628
    for _ in range(3):
        shutil.rmtree(photos.places.data_dir, ignore_errors=True)
        process = begun(photos)
        assert steps(process, total) == [total]
        kill(process)
        for path, content in photos.outs().items():
            assert ".tmp" in path or content == undisturbed[path]
    photos.run()
    assert photos.decoded == 0
    assert {path: c for path, c in photos.outs().items() if ".tmp" not in path} == undisturbed
