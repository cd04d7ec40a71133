"""The background monitor's own process: `python -m pillsnap.monitor ARTIFACTS_DIR HOST SOCKET_FD`.

Started by daemon.py only; people use `pillsnap monitor`.
"""

import os
import socket
import sys
from pathlib import Path

from pillsnap.monitor.command import access_for
from pillsnap.monitor.daemon import TOKEN_VARIABLE
from pillsnap.monitor.server import create_app, serve


def main() -> None:
    """Serve on the inherited socket until told to stop."""
    artifacts_dir, host, descriptor = sys.argv[1:]
    access = access_for(host, os.environ.pop(TOKEN_VARIABLE, None))
    serve(create_app(Path(artifacts_dir), access), socket.socket(fileno=int(descriptor)))


if __name__ == "__main__":
    main()
