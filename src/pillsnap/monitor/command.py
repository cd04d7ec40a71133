"""`pillsnap monitor`: check host and token, then serve here, or start, find or stop a daemon."""

import os
import re
import socket
from pathlib import Path

from pillsnap import files
from pillsnap.errors import ParameterError, UserError
from pillsnap.monitor import daemon
from pillsnap.monitor.guard import LOOPBACK_NAMES, Access

SHORTEST_TOKEN = 16


def artifacts_dir_of(params_path: Path, scale: str | None) -> Path:
    """artifacts/<scale> beside params.yaml; `scale` None means the one params.yaml names."""
    params = files.read_yaml(params_path, "Run from the project folder.", ParameterError)
    scales = params.get("scales")
    known = scales if isinstance(scales, dict) else {}
    name = params.get("scale") if scale is None else scale
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9_]+", name) or name not in known:
        raise ParameterError(
            f"{params_path}: scale {name!r} is none of {', '.join(map(str, known)) or 'any'}.",
            "Give one of them with --scale, or set the key scale.",
        )
    return params_path.parent / "artifacts" / name


def access_for(host: str, token: str | None) -> Access:
    """What the monitor answers to on `host`; beyond this machine a token is a must."""
    token = token or None
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise UserError(
            f"The monitor's token has {len(token)} characters; {SHORTEST_TOKEN} are the least.",
            _TOKEN_CURE,
        )
    if host in LOOPBACK_NAMES:
        return Access(token=token)
    if token is None:
        raise UserError(f"--host {host} opens the monitor to the network.", _TOKEN_CURE)
    name = socket.gethostname().lower()
    names = LOOPBACK_NAMES | {host.lower(), name, f"{name}.local"}
    return Access(names=names, any_address=True, token=token)


def monitor(artifacts_dir: Path, host: str, port: int, token: str | None = None) -> None:
    """Serve the page in the foreground until Ctrl-C."""
    from pillsnap.monitor.server import create_app, serve

    access = access_for(host, _token(token))
    with daemon.listen(host, port) as listener:
        bound = int(listener.getsockname()[1])
        print(f"{daemon.address(host, bound)}  {artifacts_dir}  (Ctrl-C ends it)", flush=True)
        serve(create_app(artifacts_dir, access), listener)


def start(
    artifacts_dir: Path, host: str, port: int, run_dir: Path, token: str | None = None
) -> None:
    """Start the page in the background and say where it is."""
    token = _token(token)
    access_for(host, token)
    began = daemon.start(artifacts_dir, host, port, token, run_dir)
    print(f"monitor at {began.url} (pid {began.pid}); pillsnap monitor --stop ends it")


def status(run_dir: Path) -> int:
    """Say whether a monitor runs in the background; exit code 0 where it does, else 1."""
    found = daemon.running(run_dir)
    if found is None:
        print("no monitor in the background; pillsnap monitor --daemon starts one")
        return 1
    print(f"monitor at {found.url} (pid {found.pid}), showing {found.artifacts_dir}")
    return 0


def stop(run_dir: Path) -> None:
    """End the monitor in the background, if there is one."""
    stopped = daemon.stop(run_dir)
    print(f"stopped the monitor at {stopped.url}" if stopped else "no monitor was running")


def _token(token: str | None) -> str | None:
    return token or os.environ.get(daemon.TOKEN_VARIABLE) or None


_TOKEN_CURE = (
    f"Set {daemon.TOKEN_VARIABLE}, for instance to the output of\n"
    "  python3 -c 'import secrets; print(secrets.token_urlsafe(24))'\n"
    "and open the page once as http://HOST:PORT/?token=..., or keep 127.0.0.1 and use\n"
    "  ssh -L 8888:localhost:8888 THIS_MACHINE"
)
