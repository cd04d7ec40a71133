"""A running service under load on loopback, next to one client that asks one by one.

    pillsnap serve --port 8080 & python benchmarks/service.py http://127.0.0.1:8080 PHOTO...
        [--clients 4] [--seconds 60]

Prints for 1 client and for N: requests, statuses, pictures/s, p50 and p95 in ms.
"""

import argparse
import http.client
import threading
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np


def ask(base: str, contents: list[bytes], until_s: float, told: list[tuple[int, float]]) -> None:
    """One client on one kept connection, picture after picture, until the time is over."""
    connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=60)
    turn = 0
    while time.perf_counter() < until_s:
        begun_s = time.perf_counter()
        content = contents[turn % len(contents)]
        connection.request("POST", "/v1/recognise", content, {"content-type": "image/png"})
        answer = connection.getresponse()
        answer.read()
        told.append((answer.status, time.perf_counter() - begun_s))
        turn += 1


def load(base: str, contents: list[bytes], clients: int, seconds: float) -> None:
    """Run the clients and print a line."""
    told: list[tuple[int, float]] = []
    begun_s = time.perf_counter()
    threads = [
        threading.Thread(target=ask, args=(base, contents, begun_s + seconds, told))
        for _ in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s = time.perf_counter() - begun_s
    good_ms = [1000 * one_s for status, one_s in told if status == 200] or [float("nan")]
    p50, p95 = np.percentile(good_ms, [50, 95])
    rate = sum(status == 200 for status, _ in told) / took_s
    statuses = dict(Counter(status for status, _ in told))
    print(
        f"{clients:3} clients  {rate:7.1f} pictures/s  p50 {p50:6.0f} ms  p95 {p95:6.0f} ms  "
        f"{statuses}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("base")
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    contents = [path.read_bytes() for path in options.photos]
    load(options.base, contents, 1, min(2.0, options.seconds))  # warms up
    load(options.base, contents, 1, options.seconds)
    load(options.base, contents, options.clients, options.seconds)


if __name__ == "__main__":
    main()
