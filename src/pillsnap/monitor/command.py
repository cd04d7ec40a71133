"""`pillsnap monitor`: serve here, or start, find or stop the monitor in the background."""

import os
from collections.abc import Sequence
from pathlib import Path

from pillsnap import files
from pillsnap.errors import ParameterError
from pillsnap.monitor import daemon
from pillsnap.monitor.policy import POLICY
from pillsnap.web.guard import access_for
from pillsnap.web.listener import address, listen

COMMAND = "pillsnap monitor"


def artifacts_dir_of(params_path: Path, scale: str | None) -> Path:
    """artifacts/<scale> next to params.yaml; `scale` None means the one params.yaml names."""
    cure = "Run the command in the project folder, or restore the file: git checkout params.yaml"
    params = files.read_yaml(params_path, cure, ParameterError)
    scales = params.get("scales")
    known = list(map(str, scales)) if isinstance(scales, dict) else []
    name = params.get("scale") if scale is None else scale
    if not isinstance(name, str) or name not in known:
        raise ParameterError(
            f"{params_path} has no scale {name!r}; it has {', '.join(known) or 'none'}.",
            "Give one of them: --scale NAME",
        )
    return params_path.parent / "artifacts" / name


def monitor(artifacts_dir: Path, host: str, port: int, proxies: Sequence[str] = ()) -> None:
    from pillsnap.monitor.server import create_app, server

    access = access_for(POLICY, host, os.environ.get(POLICY.variable), proxies)
    with listen(host, port, COMMAND) as listener:
        bound = int(listener.getsockname()[1])
        print(f"{address(host, bound)}  {artifacts_dir}  (Ctrl-C ends it)", flush=True)
        server(create_app(artifacts_dir, access)).run(sockets=[listener])


def start(
    artifacts_dir: Path, host: str, port: int, run_dir: Path, proxies: Sequence[str] = ()
) -> None:
    access_for(POLICY, host, os.environ.get(POLICY.variable), proxies)  # refused for the user here
    started = daemon.start(artifacts_dir, host, port, run_dir, proxies)
    print(f"monitor at {started.url} (pid {started.pid}); {COMMAND} --stop ends it")


def status(run_dir: Path) -> int:
    """Print whether a monitor runs in the background; exit code 0 where it does, else 1."""
    if found := daemon.running(run_dir):
        print(f"monitor at {found.url} (pid {found.pid}), showing {found.artifacts_dir}")
    else:
        print(f"no monitor in the background; {COMMAND} --daemon starts one")
    return 0 if found else 1


def stop(run_dir: Path) -> None:
    stopped = daemon.stop(run_dir)
    print(f"stopped the monitor at {stopped.url}" if stopped else "no monitor was running")
