"""The HTTP service under load, as a process on loopback: several clients, and one at a time.

    python benchmarks/service.py [PHOTO...] [--clients 4] [--seconds 60] [--rounds 6]
        [--backend torch] [--model BUNDLE] [--batch-size 8] [--queue 32]

Without photos: the frames of val that evaluate measures on. Several clients and a single one take
turns, then twice as many clients as it accepts, then SIGTERM while all wait. Prints Markdown.
"""

import argparse
import http.client
import io
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

FRAMES = 64  # of the frame store, when no photo is named
WARM_UP_S = 3.0
IN_FLIGHT = "pillsnap_requests_in_flight "
START_S = 120.0  # importing torch and loading two models on a busy machine


@dataclass(frozen=True)
class Client:
    """One client on one persistent connection."""

    address: str
    contents: list[bytes]

    def until(self, end_s: float, answers: list[tuple[str, float]]) -> None:
        """Send pictures until the time is over; record status and seconds of each."""
        connection = http.client.HTTPConnection(self.address, timeout=120)
        turn = 0
        while time.perf_counter() < end_s:
            started_s = time.perf_counter()
            status = post(connection, "image/jpeg", self.contents[turn % len(self.contents)])
            answers.append((status, time.perf_counter() - started_s))
            turn += 1


@dataclass
class Load:
    """The answers under one kind of load so far."""

    clients: int
    seconds: float = 0.0
    answers: list[tuple[str, float]] = field(default_factory=list)

    def run(self, address: str, contents: list[bytes], seconds: float) -> None:
        """All clients at once."""
        client, started_s = Client(address, contents), time.perf_counter()
        threads = [
            threading.Thread(target=client.until, args=(started_s + seconds, self.answers))
            for _ in range(self.clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.seconds += time.perf_counter() - started_s

    def row(self, name: str) -> str:
        """Its line of the table."""
        good_ms = [1000 * one_s for status, one_s in self.answers if status == "200"] or [
            float("nan")
        ]
        p50, p95 = np.percentile(good_ms, [50, 95])
        good = sum(status == "200" for status, _ in self.answers)
        errors = len(self.answers) - good
        rate = good / self.seconds
        return f"| {name} | {rate:.1f} | {p50:.1f} | {p95:.1f} | {good} | {errors} |"


def post(connection: http.client.HTTPConnection, kind: str, content: bytes) -> str:
    """The status of one request, or the name of its error."""
    try:
        connection.request("POST", "/v1/recognise", content, {"content-type": kind})
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return type(error).__name__
    return str(answer.status)


def photos(paths: list[Path]) -> list[bytes]:
    """JPEG bytes of the photos named, or of the project's own frames."""
    if paths:
        return [_jpeg(path) for path in paths]
    from pillsnap.dataset.frames import FrameStore
    from pillsnap.params import load
    from pillsnap.places import Places

    column = FrameStore(Places.of(load()).frames("val")).arrow.column("jpeg")
    return [column[i].as_py() for i in range(min(FRAMES, len(column)))]


def _jpeg(path: Path) -> bytes:
    buffer = io.BytesIO()
    Image.open(path).convert("RGB").save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


@contextmanager
def service(options: argparse.Namespace) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`pillsnap serve` on a free port, ready; its process and address."""
    named = ["--model", str(options.model)] if options.model else []
    held = ["--batch-size", str(options.batch_size), "--queue", str(options.queue)]
    program = [sys.executable, "-m", "pillsnap.cli", "serve", "--port", "0"]
    program += ["--backend", options.backend, *named, *held]
    with tempfile.NamedTemporaryFile() as log, subprocess.Popen(program, stderr=log) as process:
        try:
            started_s = time.perf_counter()
            while not (output := Path(log.name).read_text("utf-8")).endswith(")\n"):
                late = time.perf_counter() - started_s > START_S
                if late or process.poll() is not None:
                    raise SystemExit(f"the service did not start:\n{output}")
                time.sleep(0.1)
            address = output.split("http://")[1].split("/")[0]
            yield process, address
        finally:
            process.kill()


def overload(address: str, contents: list[bytes], options: argparse.Namespace) -> list[str]:
    """Twice as many clients as queue and batch hold together; then a single request."""
    clients = 2 * (options.queue + options.batch_size)
    heavy = Load(clients)
    heavy.run(address, contents, min(5.0, options.seconds))
    statuses = Counter(status for status, _ in heavy.answers)
    after = post(http.client.HTTPConnection(address, timeout=120), "image/jpeg", contents[0])
    counts = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    return [
        f"overload, {clients} clients for {heavy.seconds:.0f} s: {counts}",
        f"one request after it: {after}",
    ]


def ending(
    process: subprocess.Popen[bytes], address: str, contents: list[bytes], clients: int
) -> list[str]:
    """SIGTERM while every client waits for several pictures: the answers, and the exit code."""
    kind, form = _form(contents)
    connections = [http.client.HTTPConnection(address, timeout=120) for _ in range(clients)]
    with ThreadPoolExecutor(clients) as pool:
        waiting = [pool.submit(post, connection, kind, form) for connection in connections]
        held = _settled(address, lambda: sum(not one.done() for one in waiting))
        process.send_signal(signal.SIGTERM)
        answers = Counter(one.result() for one in waiting)
    code = process.wait(timeout=120)
    counts = ", ".join(f"{count} x {status}" for status, count in sorted(answers.items()))
    return [
        f"SIGTERM with {held} of {clients} requests in flight: {counts}; exit code {code}",
        f"new connections afterwards: {'taken' if _listens(address) else 'refused'}",
    ]


def _settled(address: str, unanswered: Callable[[], int]) -> int:
    """Requests in flight once the service holds all that are not answered yet."""
    while True:
        connection = http.client.HTTPConnection(address, timeout=120)
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        held = next(int(line.split()[1]) for line in lines if line.startswith(IN_FLIGHT))
        if held >= unanswered():
            return held


def _form(contents: list[bytes]) -> tuple[str, bytes]:
    """Content type and body of a request with eight pictures."""
    mark = "one-picture-ends-here"
    head = f'--{mark}\r\ncontent-disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    parts = [head.encode() + contents[i % len(contents)] + b"\r\n" for i in range(8)]
    body = b"".join([*parts, f"--{mark}--\r\n".encode()])
    return f"multipart/form-data; boundary={mark}", body


def _listens(address: str) -> bool:
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


def measure(options: argparse.Namespace) -> Iterator[str]:
    """The report, line by line."""
    contents = photos(options.photos)
    with service(options) as (process, address):
        first = post(http.client.HTTPConnection(address, timeout=120), "image/jpeg", contents[0])
        if first != "200":
            raise SystemExit(f"the first picture is answered by {first}: nothing to measure")
        resident = psutil.Process(process.pid).memory_info
        rss_mb = {"after the first picture": resident().rss / 1e6}
        Load(options.clients).run(address, contents, min(WARM_UP_S, options.seconds))
        rss_mb["after warm-up"] = resident().rss / 1e6
        many, one = Load(options.clients), Load(1)
        for _ in range(options.rounds):
            many.run(address, contents, options.seconds / options.rounds)
            one.run(address, contents, options.seconds / options.rounds)
        rss_mb["end"] = resident().rss / 1e6
        yield "| clients | pictures/s | p50 ms | p95 ms | answered | errors |"
        yield "|---|---|---|---|---|---|"
        yield many.row(f"{many.clients} at once")
        yield one.row("1, one by one")
        yield ""
        yield "memory (RSS): " + ", ".join(f"{name} {mb:.0f} MB" for name, mb in rss_mb.items())
        yield from overload(address, contents, options)
        yield f"memory after the overload: {resident().rss / 1e6:.0f} MB"
        yield from ending(process, address, contents, options.clients)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", nargs="*", type=Path)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each kind of load")
    parser.add_argument("--rounds", type=int, default=6, help="turns the two loads take")
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--queue", type=int, default=32)
    for line in measure(parser.parse_args()):
        print(line, flush=True)


if __name__ == "__main__":
    main()
