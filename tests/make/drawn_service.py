"""`pillsnap serve` as a program, with the drawn models behind a gate: a batch goes through them for
each byte on standard input, and all of them once that has ended.

    python drawn_service.py BATCH_SIZE QUEUE SHUTDOWN_S
"""

import os
import sys
from pathlib import Path

from make import services
from make.drawn_models import recogniser
from pillsnap.prediction import load
from pillsnap.prediction.load import Loaded
from pillsnap.register import store
from pillsnap.service import command
from pillsnap.service.requests import Limits


def main() -> None:
    batch_size, queue, command.SHUTDOWN_S = map(int, sys.argv[1:])
    tool = recogniser()
    recognise = tool.recognise

    def gated(*arguments: object):
        os.read(0, 1)
        return recognise(*arguments)

    tool.recognise = gated
    loaded = Loaded(tool, batch_size, 10**6, "drawn", "demo", Path("none.json"))
    load.load = lambda *_, **__: loaded
    store.current = lambda _: services.REGISTER
    limits = Limits(batch_size, queue, 32 * 10**6, 8)
    command.serve("127.0.0.1", 0, "cpu", "drawn", None, limits)


if __name__ == "__main__":
    main()
