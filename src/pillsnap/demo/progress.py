"""Progress of a long task: one line every ten seconds and one at the end."""

import sys
import time
from collections.abc import Callable


def lines(what: str, period_s: float = 10.0) -> Callable[[int, int], None]:
    """A callback (done, total) that prints the progress."""
    last_s = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last_s
        now_s = time.monotonic()
        if now_s - last_s >= period_s or done == total:
            last_s = now_s
            print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)

    return show
