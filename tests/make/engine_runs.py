"""Clusters of two workers on this machine, and runs of validate on them in processes of their own.

    with cluster("dask") as (url, ask), start(photos.pickle, url) as run: ...

`ask("lose")` kills a worker (Dask) or a node (Ray); `ask("idle")` answers when no task is left.
"""

import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(sys.path),
    "RAY_USAGE_STATS_ENABLED": "0",
}
DASK = """
import os, signal, sys, time
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        print(cluster.scheduler_address.replace("tcp", "dask"), flush=True)
        for line in sys.stdin:
            if line == "lose\\n":
                os.kill(cluster.workers[0].process.pid, signal.SIGKILL)
            while line == "idle\\n" and cluster.scheduler.tasks:
                time.sleep(0.05)
            print("done", flush=True)
"""
RAY = """
import psutil, sys, time
from ray.cluster_utils import Cluster

if __name__ == "__main__":
    head = {"num_cpus": 1, "ray_client_server_port": int(sys.argv[1])}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    second = cluster.add_node(num_cpus=1)
    print(f"ray://127.0.0.1:{sys.argv[1]}", flush=True)
    for line in sys.stdin:
        if line == "lose\\n":
            cluster.remove_node(second, allow_graceful=False)
        while line == "idle\\n" and any(one.info["cmdline"] == ["ray::_call"]
                                       for one in psutil.process_iter(["cmdline"])):
            time.sleep(0.05)
        print("done", flush=True)
    cluster.shutdown()
"""
RUN = """
import pickle, signal, sys
from pathlib import Path

class Log:
    def info(self, message): print(message, flush=True)
    def progress(self, step, total): print(step, total, flush=True)

if __name__ == "__main__":
    from pillsnap.validation import parts, validate as stage
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    places, params = pickle.loads(Path(sys.argv[1]).read_bytes())
    try:
        if "/" in sys.argv[2] and "//" not in sys.argv[2]:
            stage.read_part(places, params, parts.parse(sys.argv[2]), Log().progress)
        else:
            options = params.validate_.model_copy(update={"engine": sys.argv[2]})
            stage.validate(places, params.model_copy(update={"validate_": options}), Log())
    except KeyboardInterrupt:
        sys.exit(130)
"""


@contextmanager
def cluster(name: str) -> Iterator[tuple[str, Callable[[str], None]]]:
    """The URL of a cluster, and what asks it."""
    with socket.socket() as free:  # for Ray
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [sys.executable, "-c", {"dask": DASK, "ray": RAY}[name], str(port)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen(program, env=ENVIRONMENT, **pipes) as process:
        assert process.stdin and process.stdout

        def ask(what: str) -> None:
            process.stdin.write(f"{what}\n")
            assert process.stdout.readline() == "done\n"

        try:
            yield process.stdout.readline().strip(), ask
        finally:
            process.stdin.close()


def start(job: Path, engine: str) -> "subprocess.Popen[str]":
    """validate with an engine, or one part (`1/3`); `job`: its pickled places and parameters."""
    return subprocess.Popen(
        [sys.executable, "-c", RUN, job, engine], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )  # fmt: skip


def steps(process: "subprocess.Popen[str]", last: int = 10**9) -> list[int]:
    """The photos done that it reports, up to the first report of so many or its end."""
    found: list[int] = []
    assert process.stdout
    for line in process.stdout:
        words = line.split()
        if len(words) == 2 and words[0].isdigit():
            found.append(int(words[0]))
            if found[-1] >= last:
                break
    return found


def interrupt(process: "subprocess.Popen[str]") -> None:
    """Ctrl-C; none of its processes may be left."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


def save(job: Path, places: object, params: object) -> Path:
    """What `start` reads."""
    job.write_bytes(pickle.dumps((places, params)))
    return job
