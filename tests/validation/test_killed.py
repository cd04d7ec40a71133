"""validate under kill -9: the next run resumes and ends with the same bytes."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from make.photo_set import PhotoSet, make, pack

RUN = """
import pickle, sys
from pathlib import Path

class Log:
    def info(self, message): print(message, flush=True)
    def progress(self, step, total): print(step, total, flush=True)

if __name__ == "__main__":
    pickle.loads(Path(sys.argv[1]).read_bytes()).run(log=Log(), num_workers=2)
    print("done", flush=True)
"""


@pytest.fixture
def photos(tmp_path: Path) -> PhotoSet:
    made = make(tmp_path, many=600)
    (tmp_path / "run.py").write_text(RUN)
    return made


def start(photos: PhotoSet) -> "subprocess.Popen[str]":
    (photos.base / "photos.pickle").write_bytes(pickle.dumps(photos))
    return subprocess.Popen(
        [sys.executable, photos.base / "run.py", photos.base / "photos.pickle"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )


def steps_until(process: "subprocess.Popen[str]", last_step: int) -> list[int]:
    """What it reported, up to the first report of so many photos or the end."""
    steps: list[int] = []
    assert process.stdout
    for line in process.stdout:
        if line.split()[0].isdigit() and len(line.split()) == 2:
            steps.append(int(line.split()[0]))
            if steps[-1] >= last_step:
                break
    return steps


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
        process = start(photos)
        steps = steps_until(process, last_step)
        kill(process)
        assert steps[0] >= reached
        reached = steps[-1]
    with start(photos) as process:
        steps = steps_until(process, 10**9)
    assert process.returncode == 0
    assert steps[0] >= reached
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
        process = start(photos)
        assert steps_until(process, total) == [total]
        kill(process)
        for path, content in photos.outs().items():
            assert ".tmp" in path or content == undisturbed[path]
    photos.run()
    assert photos.decoded == 0
    assert {path: c for path, c in photos.outs().items() if ".tmp" not in path} == undisturbed
