"""Deferred signals: a trainer finishes its step, saves, then exits."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Whether SIGINT or SIGTERM was received."""

    def __init__(self) -> None:
        self.came = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        if self.came:  # a second signal interrupts at once
            raise KeyboardInterrupt
        self.came = True


@contextmanager
def deferred() -> Iterator[Interrupt]:
    """Within, SIGINT and SIGTERM only set `came`; a second signal interrupts at once."""
    interrupt = Interrupt()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_to_parent(_worker: int) -> None:
    """In a loader worker: ignore SIGINT, which the whole process group gets, exit with its parent.

    Exits at once with the process that forked it, whose lock it may have inherited, and with the
    trainer where that is a different process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    under_torchrun = "TORCHELASTIC_RUN_ID" in os.environ  # it sends SIGTERM to the workers as well
    signal.signal(signal.SIGTERM, signal.SIG_IGN if under_torchrun else signal.SIG_DFL)
    end_with_parent(signal.SIGKILL)
    end_with_starter()


def end_with_starter() -> None:
    """In a multiprocessing worker: exit when the process that requested it does.

    A fork server outlives the process that started it for as long as it has workers.
    """
    threading.Thread(target=_wait_for_starter, daemon=True).start()


def _wait_for_starter() -> None:
    starter = multiprocessing.parent_process()
    if starter is not None:
        starter.join()
        os._exit(1)


def end_with_parent(number: int) -> None:
    """Ask Linux to send this process a signal when its parent exits."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, number)
