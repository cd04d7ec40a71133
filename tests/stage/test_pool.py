"""Work spread over processes: answers in order, few at once, and no process left behind."""

import multiprocessing
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psutil
import pytest

from pillsnap.errors import MachineError
from pillsnap.stage import pool
from pillsnap.stage.pool import spread

MODULE = "pillsnap.aihub.reading"
workers = partial(pool.workers, preload=MODULE, cure="Free memory.")


@pytest.fixture
def started():
    """The workers that run now; after the test there must be none."""
    before = set(multiprocessing.active_children())
    yield lambda: set(multiprocessing.active_children()) - before
    assert set(multiprocessing.active_children()) == before


@pytest.mark.parametrize("count", [1, 2, 3])
def test_answers_come_whole_and_in_the_order_of_the_items(started, count):
    items = [20000 * (number % 3) + number for number in range(30)]
    with workers(count) as mapped:
        assert len(started()) == (count if count > 1 else 0)
        assert list(mapped(range, items)) == [range(item) for item in items]
        assert list(mapped(bytes, [3 << 20])) == [bytes(3 << 20)]  # larger than a pipe


def test_any_executor_has_no_more_than_a_few_items_at_once():
    items = iter(range(50))
    with ThreadPoolExecutor(3) as threads:
        for done, answer in enumerate(spread(threads.submit, 4, "", abs, items), 1):
            assert answer == done - 1
            assert 50 - items.__length_hint__() <= done + 4
    assert answer == 49


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_in_between_is_raised_and_ends_the_workers(started, error):
    with pytest.raises(error), workers(2) as mapped:
        next(iter(mapped(int, ["1"] * 10000)))
        raise error
    with pytest.raises(ValueError, match="invalid literal"), workers(2) as mapped:
        list(mapped(int, ["1", "x"]))


def test_a_killed_worker_is_an_error_with_the_cure(started):
    with pytest.raises(MachineError, match="was killed") as refused, workers(2) as mapped:
        for worker in started():
            worker.kill()
        list(mapped(abs, range(10)))
    assert refused.value.cure == "Free memory."


SCRIPT = """
from pillsnap.stage.pool import workers
print("imported", flush=True)
if __name__ == "__main__":
    with workers(2, "pillsnap.aihub.reading", "") as mapped:
        while input():
            print(sum(mapped(abs, range(10))), flush=True)
"""


def test_workers_ignore_the_script_and_ctrl_c_and_end_when_their_parent_is_killed(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, tmp_path / "script.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, bufsize=1,
    ) as process:  # fmt: skip
        process.stdin.write("go\n")
        assert [process.stdout.readline() for _ in range(2)] == ["imported\n", "45\n"]
        processes = psutil.Process(process.pid).children(recursive=True)
        forked = [one for one in processes if one.ppid() != process.pid]
        assert len(forked) == 2
        for one in forked:
            one.send_signal(signal.SIGINT)
        process.stdin.write("go\n")
        assert process.stdout.readline() == "45\n"
        process.kill()
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert all(one.status() == psutil.STATUS_ZOMBIE for one in alive)  # no init may wait for it


def test_what_a_worker_loads_is_light():
    code = f"import sys, pillsnap.stage.pool, {MODULE}; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"numpy", "pandas", "psutil", "pydantic", "pyarrow"} & set(loaded)
