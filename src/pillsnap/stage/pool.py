"""Work spread over processes: any Executor can be driven, the local one is made here.

Light imports only: the workers load this module.
"""

import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.synchronize import Barrier
from types import ModuleType
from typing import Protocol, TypeVar

from pillsnap.errors import MachineError
from pillsnap.stage.signals import end_with_starter

Item = TypeVar("Item")
Answer = TypeVar("Answer")
IN_FLIGHT = 2  # futures per worker: one runs, one waits


class Spread(Protocol):
    """Like `map`, perhaps in several processes: of a module's function and data that pickles."""

    def __call__(
        self, function: Callable[[Item], Answer], items: Iterable[Item], /
    ) -> Iterable[Answer]:
        """The function's answers to all items, in their order."""


@contextmanager
def workers(count: int, preload: str, cure: str) -> Iterator[Spread]:
    """A Spread over `count` processes (0: one per core); with one, this process does the work.

    `preload`: the module of the functions, imported once for all workers. `cure`: of the
    MachineError that is raised when a worker is killed.
    """
    from pillsnap.stage.hardware import cpu_count  # the workers do not load it

    count = count or cpu_count()
    if count == 1:
        yield map
        return
    with local_executor(count, preload) as executor:
        yield partial(spread, executor.submit, IN_FLIGHT * count, cure)


def spread(
    submit: Callable[..., "Future[Answer]"],
    in_flight: int,
    cure: str,
    function: Callable[[Item], Answer],
    items: Iterable[Item],
    /,
) -> Iterator[Answer]:
    """The function's answers in the order of the items, with at most `in_flight` futures at once.

    `submit` is that of any Executor, those of Dask and Ray included.
    """
    waiting: deque[Future[Answer]] = deque()
    try:
        for item in items:
            waiting.append(submit(function, item))
            if len(waiting) == in_flight:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenExecutor:
        raise MachineError(
            "A worker process was killed; most often memory ran out.", cure
        ) from None
    finally:
        for future in waiting:
            future.cancel()


@contextmanager
def local_executor(count: int, preload: str) -> Iterator[Executor]:
    """`count` processes of this machine, started at once; killed when the block raises.

    By forkserver, not fork: that would copy locks held by threads (of the log, of Arrow).
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(count, context, _start_worker, (context.Barrier(count),))
    try:
        with _main_hidden():
            for _ in range(count):
                executor.submit(int)  # starts a process, because none is idle
        yield executor
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Without this, every worker imports the script that runs: a second of work for nothing."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _start_worker(all_started: Barrier) -> None:
    """A worker ignores Ctrl-C, which the parent handles, and exits with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_starter()
    all_started.wait()  # one that is idle too early would be given the others' tasks
