"""The background monitor: `python -m pillsnap.monitor ARTIFACTS_DIR HOST FD RUN_DIR [PROXY...]`.

daemon.py starts it; people use `pillsnap monitor`.
"""

import os
import socket
import sys
from pathlib import Path

from pillsnap.monitor import daemon
from pillsnap.monitor.policy import POLICY
from pillsnap.monitor.server import create_app, serve
from pillsnap.web.guard import access_for


def main() -> None:
    """Serve on the inherited socket until SIGTERM."""
    artifacts_dir, host, descriptor, run_dir, *proxies = sys.argv[1:]
    access = access_for(POLICY, host, os.environ.pop(POLICY.variable, None), proxies)
    listener = socket.socket(fileno=int(descriptor))
    daemon.record(Path(run_dir), Path(artifacts_dir), host, listener)
    serve(create_app(Path(artifacts_dir), access), listener)


if __name__ == "__main__":
    main()
