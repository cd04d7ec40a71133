"""Progress of a long task: one line every ten seconds and one at the end."""

import sys
import time
from collections.abc import Callable

PERIOD_S = 10.0
OnProgress = Callable[[int, int], None]


def lines(what: str) -> OnProgress:
    """A callback (done, total) that prints the progress."""
    last_s = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= PERIOD_S or done == total:
            last_s = time.monotonic()
            print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)

    return show
