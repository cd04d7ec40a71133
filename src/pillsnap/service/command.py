"""`pillsnap serve`: check host and key, load the models, answer until SIGTERM."""

import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvicorn

from pillsnap.errors import MachineError, UserError
from pillsnap.prediction import load
from pillsnap.prediction.load import Loaded
from pillsnap.service.app import ServiceOptions, create_app
from pillsnap.service.door import LOOPBACK, Access
from pillsnap.service.requests import Limits

KEY_VARIABLE = "PILLSNAP_API_KEY"
SHORTEST_KEY = 16
MOST_CANDIDATES = 50
PATIENCE_S = 30  # at the end, with clients that stall in the middle of a request


@dataclass(frozen=True)
class ServeOptions:
    """What `pillsnap serve` was asked for."""

    host: str
    port: int
    device: str
    backend: str
    model: Path | None
    batch_size: int  # pictures through the models together
    queue: int  # requests held at once
    request_mb: int
    pictures: int  # of a request


def serve(options: ServeOptions) -> None:
    """Answer on host and port until SIGINT or SIGTERM; what was taken is finished then."""
    # uvicorn finishes what it holds and then raises the signal again: that is no failure
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    access = access_for(options.host, os.environ.get(KEY_VARIABLE))
    listener = listen(options.host, options.port)
    loaded = load.load(options.backend, options.model, options.device)
    warm_up(loaded)
    limits = Limits(options.request_mb * 10**6, options.pictures, MOST_CANDIDATES)
    app = create_app(loaded, access, ServiceOptions(options.batch_size, options.queue, limits))
    host, port = listener.getsockname()[:2]
    print(f"http://{host}:{port}/  ({loaded.backend}, scale {loaded.scale})", file=sys.stderr)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=PATIENCE_S,
    )
    uvicorn.Server(config).run(sockets=[listener])


def access_for(host: str, key: str | None) -> Access:
    """What the service answers to on `host`; beyond this machine a key is a must."""
    key = key or None
    if key is not None and len(key) < SHORTEST_KEY:
        raise UserError(
            f"{KEY_VARIABLE} has {len(key)} characters; {SHORTEST_KEY} are the least.", _KEY_CURE
        )
    if host in LOOPBACK:
        return Access(key=key)
    if key is None:
        raise UserError(f"--host {host} opens the service to the network.", _KEY_CURE)
    return Access(any_host=True, key=key)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; taken before the models are loaded, so that a busy port is told soon."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise MachineError(
            f"{host}:{port} cannot be listened on: {error.strerror}.", "Choose another --port."
        ) from None


def warm_up(loaded: Loaded) -> None:
    """Run both models once, so that the first client does not pay for it."""
    recogniser = loaded.recogniser
    grey = np.full((640, 480, 3), 127, np.uint8)
    recogniser.read([grey])
    recogniser.classify(recogniser.cut(grey, np.array([[100, 100, 200, 200]])))


_KEY_CURE = (
    f'export {KEY_VARIABLE}="$(python3 -c "import secrets; print(secrets.token_urlsafe(24))")"'
)
