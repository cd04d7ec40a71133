"""Work spread over processes: answers in order, few at once, and no process left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psutil
import pytest

from make.import_graph import SRC
from pillsnap.errors import MachineError
from pillsnap.stage import pool
from pillsnap.stage.pool import spread

MODULE = "pillsnap.aihub.reading"
workers = partial(pool.workers, preload=MODULE, cure="Free memory.")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_answers_come_in_the_order_of_the_items(count):
    items = [20000 * (number % 3) + number for number in range(30)]
    with workers(count) as mapped:
        assert list(mapped(range, items)) == [range(item) for item in items]


def test_one_worker_is_this_process_and_answers_larger_than_a_pipe_are_whole():
    with workers(1) as mapped:
        assert list(mapped(lambda _: os.getpid(), [0])) == [os.getpid()]
    with workers(2) as mapped:
        assert list(mapped(bytes, [1 << 20, 3 << 20])) == [bytes(1 << 20), bytes(3 << 20)]


def test_any_executor_has_no_more_than_a_few_items_at_once():
    taken: list[int] = []

    def items():
        for number in range(50):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(3) as threads:
        for done, answer in enumerate(spread(threads, 4, "", abs, items()), 1):
            assert answer == done - 1
            assert len(taken) <= done + 4
    assert len(taken) == 50


def test_all_workers_start_at_once_and_end_with_the_work():
    before = set(multiprocessing.active_children())
    with workers(2) as mapped:
        assert len(set(multiprocessing.active_children()) - before) == 2
        list(mapped(abs, range(10)))
    assert set(multiprocessing.active_children()) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_no_worker_is_left_after_an_error_in_between(error):
    before = set(multiprocessing.active_children())
    with pytest.raises(error), workers(2) as mapped:
        next(iter(mapped(abs, range(10000))))
        raise error
    assert set(multiprocessing.active_children()) == before


def test_an_error_of_the_function_is_raised():
    with pytest.raises(ValueError, match="invalid literal"), workers(2) as mapped:
        list(mapped(int, ["1", "x"]))


def test_a_killed_worker_is_an_error_with_the_cure():
    before = set(multiprocessing.active_children())
    with pytest.raises(MachineError, match="was killed") as refused, workers(2) as mapped:
        for worker in set(multiprocessing.active_children()) - before:
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


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SRC)}


def test_workers_ignore_the_script_and_ctrl_c_and_end_when_their_parent_is_killed(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, tmp_path / "script.py"], env=ENVIRONMENT, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True, bufsize=1,
    ) as process:  # fmt: skip
        process.stdin.write("go\n")
        assert [process.stdout.readline() for _ in range(2)] == ["imported\n", "45\n"]
        parent = psutil.Process(process.pid)
        started = parent.children(recursive=True)
        forked = [one for one in started if one.parent() != parent]
        assert len(forked) == 2
        for one in forked:
            one.send_signal(signal.SIGINT)
        process.stdin.write("go\n")
        assert process.stdout.readline() == "45\n"
        process.kill()
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive


def test_what_a_worker_loads_is_light():
    listing = f"import sys, pillsnap.stage.pool, {MODULE}; print(*sys.modules)"
    command = [sys.executable, "-c", listing]
    loaded = subprocess.check_output(command, env=ENVIRONMENT, text=True).split()
    assert not {"numpy", "pandas", "psutil", "pydantic", "pyarrow"} & set(loaded)
