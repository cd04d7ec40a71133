"""Where work runs: in processes of this machine, or on the workers of a Dask or Ray cluster.

Only this module imports Dask and Ray, and only for an engine that asks for them.
"""

import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pillsnap.errors import MachineError, reason_of
from pillsnap.stage import pool
from pillsnap.stage.pool import Answer, Item, Spread

CONNECT_S = 20  # after which an engine without an answer or without workers is refused
RESUME = "; then run dvc repro: it resumes."

Cluster = tuple[Callable[..., "Future[Any]"], int]  # its submit, and the number of its cores


@dataclass(frozen=True)
class Engine:
    """`validate.engine`, and the number of local processes (0: one per core)."""

    url: str = "local"  # or dask://HOST:PORT, ray://HOST:PORT
    processes: int = 0

    @property
    def is_local(self) -> bool:
        """Whether tasks stay on this machine: small ones are cheap then."""
        return self.url == "local"

    @contextmanager
    def workers(self, root: Path, preload: str, cure: str) -> Iterator[Spread]:
        """A Spread, as of pool.workers. A cluster repeats the task of a worker that is lost; its
        workers must reach the data root under the same path."""
        if self.is_local:
            with pool.workers(self.processes, preload, cure) as spread:
                yield spread
            return
        cluster = _dask if self.url.startswith("dask://") else _ray
        with cluster(self.url) as opened:
            yield partial(_spread, self.url, opened, root.absolute())


def _spread(
    url: str,
    cluster: Cluster,
    root: Path,
    function: Callable[[Item], Answer],
    items: Iterable[Item],
    /,
) -> Iterator[Answer]:
    submit, cores = cluster
    job = partial(_on_worker, root, function)
    try:
        yield from pool.spread(submit, pool.IN_FLIGHT * cores, "", job, items)
    except Exception as error:
        raise _refusal(url, getattr(error, "cause", error)) from None  # Ray wraps errors


def _on_worker(root: Path, function: Callable[[Item], Answer], item: Item) -> Answer:
    """Without the check, every photo would count as missing on a host without the data root."""
    if not root.is_dir() or not any(root.iterdir()):
        raise MachineError(
            f"validate.engine: host {socket.gethostname()} has no files in the data root {root}.",
            f"Mount it there under the same path, or stop its workers{RESUME}",
        )
    return function(item)


@contextmanager
def _dask(url: str) -> Iterator[Cluster]:
    with _opening(url):
        from distributed import Client

        client = Client(url.replace("dask", "tcp", 1), timeout=CONNECT_S, set_as_default=False)
    try:
        with _opening(url):
            client.wait_for_workers(1, timeout=CONNECT_S)
        yield client.get_executor(pure=False).submit, sum(client.nthreads().values())
    finally:
        client.close()  # drops the tasks that wait; a running one ends with its chunk


@contextmanager
def _ray(url: str) -> Iterator[Cluster]:
    with _opening(url):
        import ray

        ray.init(url, log_to_driver=False)
    task = ray.remote(_call)  # repeated three times when its worker is lost

    def submit(*arguments: Any) -> "Future[Any]":
        future: Future[Any] = task.remote(*arguments).future()
        future.set_running_or_notify_cancel()  # Ray 2.60 fails on one that was cancelled
        return future

    try:
        yield submit, int(ray.cluster_resources().get("CPU", 1))
    finally:
        ray.shutdown()  # ends the tasks that wait or run


def _call(function: Callable[[Item], Answer], item: Item) -> Answer:
    return function(item)


@contextmanager
def _opening(url: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        extra = url.partition(":")[0]
        raise MachineError(
            f"validate.engine: {extra} is not installed ({error.name}).",
            f"Here and on the workers: pip install 'pillsnap[{extra}]' (in a clone: pip install "
            f"'.[{extra}]'). Or set validate.engine: local",
        ) from None
    except Exception as error:
        raise _absent(url, error) from None


def _refusal(url: str, error: Exception) -> Exception:
    """The refusal of what a cluster raises; an error of the work itself is returned."""
    if isinstance(error, ModuleNotFoundError):
        fact = f"a worker of {url} has no module {error.name}."
        cure = "Install this revision and its requirements there, restart the workers"
    elif isinstance(error, CancelledError | OSError):
        return _absent(url, error)
    elif type(error).__module__.startswith(("distributed.", "ray.")):
        fact = f"{url} lost each worker that a task was given to ({reason_of(error)})."
        cure = "Most often memory ran out: start fewer workers per host, or free memory"
    else:
        return error
    return MachineError(f"validate.engine: {fact}", f"{cure}{RESUME}")


def _absent(url: str, error: Exception) -> MachineError:
    reason = " ".join(str(error).split())[-200:] or type(error).__name__
    return MachineError(
        f"validate.engine: {url} does not answer or has no workers ({reason}).",
        f"Start it as docs/scaling.md shows, or set validate.engine: local{RESUME}",
    )
