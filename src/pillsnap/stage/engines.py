"""Where work runs: in processes of this machine, or on the workers of a Dask or Ray cluster.

Only this module imports Dask and Ray, and only for an engine that asks for them.
"""

import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pillsnap.errors import MachineError, reason_of
from pillsnap.stage import pool
from pillsnap.stage.pool import Answer, Item, Spread

LOCAL = "local"
CONNECT_S = 20  # after which an engine without an answer or without workers is refused
RESUME = "; then run dvc repro: it resumes."


@dataclass(frozen=True)
class Engine:
    """`validate.engine`, and the number of local processes (0: one per core)."""

    url: str = LOCAL  # local | dask://HOST:PORT | ray://HOST:PORT
    processes: int = 0

    @property
    def is_local(self) -> bool:
        """Whether tasks stay on this machine: small ones are cheap then."""
        return self.url == LOCAL

    @contextmanager
    def workers(self, root: Path, preload: str, cure: str) -> Iterator[Spread]:
        """A Spread, as of pool.workers. A cluster repeats the task of a worker that is lost; its
        workers must reach the data root under the same path."""
        if self.is_local:
            with pool.workers(self.processes, preload, cure) as spread:
                yield spread
            return
        cluster = _dask if self.url.startswith("dask://") else _ray
        with cluster(self.url) as (executor, cores):
            yield partial(_spread, self.url, executor, pool.IN_FLIGHT * cores, root.absolute())


def _spread(
    url: str,
    executor: Executor,
    in_flight: int,
    root: Path,
    function: Callable[[Item], Answer],
    items: Iterable[Item],
    /,
) -> Iterator[Answer]:
    try:
        yield from pool.spread(executor, in_flight, "", partial(_on_worker, root, function), items)
    except Exception as error:
        raise _explained(url, error) from None


def _on_worker(root: Path, function: Callable[[Item], Answer], item: Item) -> Answer:
    """Without the check, every photo would count as missing on a host without the data root."""
    if not root.is_dir() or not any(root.iterdir()):
        raise MachineError(
            f"validate.engine: host {socket.gethostname()} has no files in the data root {root}.",
            f"Mount it there under the same path, or stop its workers{RESUME}",
        )
    return function(item)


@contextmanager
def _dask(url: str) -> Iterator[tuple[Executor, int]]:
    """The cluster of the scheduler at dask://HOST:PORT, and its number of threads."""
    with _needed("dask"):
        from distributed import Client
    with _answering(url):
        client = Client(url.replace("dask", "tcp", 1), timeout=CONNECT_S, set_as_default=False)
    try:
        with _answering(url):
            client.wait_for_workers(1, timeout=CONNECT_S)
        yield client.get_executor(pure=False), sum(client.nthreads().values())
    finally:
        client.close()  # drops the tasks that wait; a running one ends with its chunk


@contextmanager
def _ray(url: str) -> Iterator[tuple[Executor, int]]:
    """The cluster of the Ray client server at ray://HOST:PORT, and its number of CPUs."""
    with _needed("ray"):
        import ray
    with _answering(url):
        ray.init(url, log_to_driver=False)
    try:
        yield _RayExecutor(ray.remote(_call).remote), int(ray.cluster_resources().get("CPU", 1))
    finally:
        ray.shutdown()  # ends the tasks that wait or run


class _RayExecutor(Executor):
    """Ray's tasks as futures; Ray repeats a task three times when its worker is lost."""

    def __init__(self, remote: Callable[..., Any]) -> None:
        self._remote = remote

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **_: Any) -> Future[Any]:
        future: Future[Any] = self._remote(function, *arguments).future()
        future.set_running_or_notify_cancel()  # Ray 2.60 fails on one that was cancelled
        return future


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


@contextmanager
def _needed(extra: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise MachineError(
            f"validate.engine: {extra} is not installed ({error.name}).",
            f"Here and on the workers: pip install 'pillsnap[{extra}]' (in a clone: pip install "
            f"'.[{extra}]'). Or set validate.engine: local",
        ) from None


@contextmanager
def _answering(url: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _absent(url, error) from None


def _explained(url: str, error: Exception) -> Exception:
    """The refusal for what a cluster raises; an error of the work itself is returned."""
    cause: Exception = getattr(error, "cause", error)  # Ray wraps errors of the work
    if isinstance(cause, ModuleNotFoundError):
        return MachineError(
            f"validate.engine: a worker of {url} has no module {cause.name}.",
            f"Install this revision and its requirements there, restart the workers{RESUME}",
        )
    if isinstance(cause, CancelledError | OSError):
        return _absent(url, cause)
    if type(cause).__module__.startswith(("distributed.", "ray.")):
        return MachineError(
            f"validate.engine: {url} lost each worker that a task was given to "
            f"({reason_of(cause)}). Most often memory ran out.",
            f"Start fewer workers per host, or free memory{RESUME}",
        )
    return cause


def _absent(url: str, error: Exception) -> MachineError:
    reason = " ".join(str(error).split())[-200:] or type(error).__name__
    return MachineError(
        f"validate.engine: {url} does not answer or has no workers ({reason}).",
        f"Start it as docs/scaling.md shows, or set validate.engine: local{RESUME}",
    )
