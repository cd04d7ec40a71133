"""Work shared out over processes: answers in order, and no process left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from make.import_graph import SRC
from pillsnap.errors import MachineError
from pillsnap.stage.pool import workers


def children(pid: int = 0) -> list[int]:
    """Processes that a process (this one) has started."""
    pid = pid or os.getpid()
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("count", [1, 2, 3])
def test_answers_come_in_the_order_of_the_items(count: int) -> None:
    items = [20000 * (number % 3) + number for number in range(30)]
    with workers(count) as spread:
        assert list(spread(range, items)) == [range(item) for item in items]


def test_one_worker_is_this_process() -> None:
    before = children()
    with workers(1) as spread:
        list(spread(abs, [1]))
        assert children() == before


def test_answers_larger_than_a_pipe_are_whole() -> None:
    with workers(2) as spread:
        assert list(spread(bytes, [1 << 20, 3 << 20])) == [bytes(1 << 20), bytes(3 << 20)]


def test_no_worker_is_left_after_the_work() -> None:
    before = children()
    with workers(2) as spread:
        assert len(children()) == len(before) + 2
        list(spread(abs, range(10)))
    assert children() == before


def test_no_worker_is_left_after_an_error_in_between() -> None:
    before = children()
    with pytest.raises(KeyboardInterrupt), workers(2) as spread:
        next(iter(spread(abs, range(10000))))
        raise KeyboardInterrupt
    assert children() == before


def test_a_killed_worker_is_said_with_a_cure() -> None:
    before = children()
    with workers(2) as spread:
        for worker in set(children()) - set(before):
            os.kill(worker, signal.SIGKILL)
        with pytest.raises(MachineError, match="was killed") as refused:
            list(spread(abs, range(10)))
    assert "build_manifest.num_workers" in refused.value.cure


WAITS = """
import signal
from pillsnap.stage.pool import workers
with workers(2):
    print("up", flush=True)
    signal.pause()
"""


def test_workers_end_when_their_parent_is_killed() -> None:
    command = [sys.executable, "-c", WAITS]
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        started = children(parent.pid)
        parent.kill()
    assert len(started) == 2
    deadline = time.monotonic() + 20
    while any(map(running, started)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(running, started))


def test_what_a_worker_loads_is_light() -> None:
    listing = "import sys, pillsnap.stage.pool, pillsnap.aihub.reading; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", listing], env={**os.environ, "PYTHONPATH": str(SRC)},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert not {"numpy", "pandas", "pydantic", "pyarrow"} & set(done.stdout.split())
