"""The background monitor: `python -m pillsnap.monitor ARTIFACTS_DIR HOST FD [PROXY...]`.

daemon.py starts it; people use `pillsnap monitor`.
"""

import os
import socket
import sys
from pathlib import Path

from pillsnap.monitor.policy import POLICY
from pillsnap.monitor.server import create_app, server
from pillsnap.web.guard import access_for


def main() -> None:
    """Serve on the inherited socket until SIGTERM."""
    artifacts_dir, host, descriptor, *proxies = sys.argv[1:]
    access = access_for(POLICY, host, os.environ.get(POLICY.variable), proxies)
    listener = socket.socket(fileno=int(descriptor))
    server(create_app(Path(artifacts_dir), access)).run(sockets=[listener])


if __name__ == "__main__":
    main()
