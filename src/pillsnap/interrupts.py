"""Signals that wait for a safe moment: a trainer finishes its step, saves, then goes."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import cv2


class Interrupt:
    """Whether SIGINT or SIGTERM has come."""

    def __init__(self) -> None:
        self.came = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        if self.came:  # the second time means it: no more waiting
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
    """A loader worker's start: Ctrl-C reaches the whole group, but only the trainer decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
