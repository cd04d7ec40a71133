"""`pillsnap serve`: check host and key, load the models, answer until SIGTERM."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from pillsnap.prediction import load
from pillsnap.prediction.thresholds import Refusal
from pillsnap.register import store
from pillsnap.service.app import POLICY, create_app
from pillsnap.service.requests import Limits
from pillsnap.web import server as web
from pillsnap.web.guard import access_for
from pillsnap.web.listener import address, listen

SHUTDOWN_S = 30  # for requests in progress at SIGTERM


def serve(
    host: str,
    port: int,
    device: str,
    backend: str,
    model: Path | None,
    limits: Limits,
    imprint: bool = False,
    proxies: Sequence[str] = (),
    refusal: Refusal = None,
) -> None:
    """Answer on host and port until SIGINT or SIGTERM; accepted requests are finished first."""
    # uvicorn finishes its requests, then raises the signal again: not a failure
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    access = access_for(POLICY, host, os.environ.get(POLICY.variable), proxies)
    with listen(host, port, "pillsnap serve") as listener:  # refused before the models are loaded
        loaded = load.load(backend, model, device, imprint=imprint, refusal=refusal)
        register = store.current(load.classes_path(backend, model))
        where = address(host, listener.getsockname()[1])
        print(f"{where}  ({loaded.backend}, scale {loaded.scale})", file=sys.stderr)
        web.server(create_app(loaded, access, limits, register), SHUTDOWN_S).run(sockets=[listener])
