"""Light processes that share out many small pieces of work; the answers keep their order.

Not multiprocessing: that would load the whole stage once more before any work is done, and fork
is not safe beside the threads of the run log.
"""

import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol, TypeVar

from pillsnap.errors import MachineError

SERVE = f"from {__name__} import serve; serve()"


Item = TypeVar("Item")
Answer = TypeVar("Answer")
Worker = subprocess.Popen[bytes]


class Spread(Protocol):
    """What `map` does, perhaps in several processes: functions of modules, data that pickles."""

    def __call__(
        self, function: Callable[[Item], Answer], items: Iterable[Item], /
    ) -> Iterable[Answer]:
        """The function's answers to all items, in their order."""


@contextmanager
def workers(count: int) -> Iterator[Spread]:
    """A Spread over `count` processes (0: one per core), which start at once; one: this process.

    Each is waited for by a thread here, and ends when its pipe does: also when this process is
    killed.
    """
    count = count or len(os.sched_getaffinity(0))
    if count == 1:
        yield map
        return
    started = [_start() for _ in range(count)]
    idle: SimpleQueue[Worker] = SimpleQueue()
    for worker in started:
        idle.put(worker)
    threads = ThreadPoolExecutor(count)

    def spread(function: Callable[[Item], Answer], items: Iterable[Item], /) -> Iterator[Answer]:
        return threads.map(partial(_ask, idle, function), items)

    try:
        yield spread
    finally:
        for worker in started:
            worker.kill()
        threads.shutdown(cancel_futures=True)
        for worker in started:
            with suppress(BrokenPipeError), worker:
                pass  # closes the pipes and waits


def _start() -> Worker:
    """A process of its own group: Ctrl-C is the parent's to handle."""
    package = os.fspath(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        process_group=0, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def _ask(idle: "SimpleQueue[Worker]", function: Callable[[Item], Answer], item: Item) -> Answer:
    worker = idle.get()
    assert worker.stdin is not None and worker.stdout is not None
    try:
        pickle.dump((function, item), worker.stdin)
        worker.stdin.flush()
        answer: Answer = pickle.load(worker.stdout)
    except (EOFError, OSError, pickle.UnpicklingError):
        raise MachineError(
            "A process that read the data was killed, most likely for want of memory.",
            "Set build_manifest.num_workers to 1, or free memory, and repeat.",
        ) from None
    finally:
        idle.put(worker)
    return answer


def serve() -> None:
    """In a worker: answer the parent's requests until there are no more."""
    gc.disable()  # nothing here goes in circles: looking for it takes a tenth of the time
    while True:
        try:
            function, item = pickle.load(sys.stdin.buffer)
            pickle.dump(function(item), sys.stdout.buffer)
            sys.stdout.flush()
        except (EOFError, BrokenPipeError):  # the parent needs no more, or has ended
            os._exit(0)
