"""Both servers under abuse for minutes: what they answer well-behaved clients, and what they hold.

    python benchmarks/soak.py [--minutes 10] [--backend torch] [--model BUNDLE]

`pillsnap serve` and `pillsnap monitor` run at once, each beside hostile clients: requests that
never end, headers and bodies that are too long, random bytes, damaged pictures, WebSocket frames
that break the protocol, viewers that never read, connections that are dropped. A well-behaved
client asks each server every other second. Exits with 1 if one of its requests fails, a server
ends, or a log has a traceback; prints memory, open files and the slowest answer.
"""

import argparse
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.request import Request, urlopen

import psutil
from drawn_events import events

from service import photos

START_S, PATIENCE_S = 180.0, 60.0
EVERY_S = 2.0
ABUSERS = 12  # of each server at once
HANDSHAKE = (
    "GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
HEAD = "POST /v1/recognise HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/jpeg\r\n"


def abuses(host: str, picture: bytes, rng: random.Random) -> list[tuple[str, list[bytes], float]]:
    """Name, what is sent piece by piece, and how long the connection is then held, in seconds."""
    damaged = bytearray(picture)
    for _ in range(20):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    head, shake = HEAD.format(host=host).encode(), HANDSHAKE.format(host=host).encode()
    length = f"Content-Length: {len(damaged)}\r\n\r\n".encode()
    return [
        ("request that never ends", [b"GET / HTTP/1.1\r\n", b"X-A: b\r\n", b"X-C: d\r\n"], 20.0),
        ("header of 1 MB", [b"GET / HTTP/1.1\r\nX: " + b"a" * 2**20 + b"\r\n\r\n"], 1.0),
        ("5,000 headers", [b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n"], 1.0),
        ("body of 1 TB", [head + b"Content-Length: 1099511627776\r\n\r\n" + picture], 2.0),
        ("body of 64 MB", [head + b"Content-Length: 67108864\r\n\r\n", *[b"\0" * 2**20] * 64], 1.0),
        ("damaged picture", [head + length + bytes(damaged)], 5.0),
        ("half a picture", [head + length + bytes(damaged[: len(damaged) // 2])], 10.0),
        ("random bytes", [rng.randbytes(4096)], 1.0),
        ("chunk of no length", [head + b"Transfer-Encoding: chunked\r\n\r\nZZZ\r\n"], 1.0),
        ("viewer that never reads", [shake], 20.0),
        ("frame of 2 GB", [shake, b"\x82\xff" + (2**31).to_bytes(8, "big") + b"\0" * 64], 2.0),
        ("frames without a mask", [shake, b"\x81\x05hello" * 1000], 1.0),
        ("dropped at once", [], 0.0),
    ]


def abuse(address: str, picture: bytes, end_s: float, seed: int, done: Counter[str]) -> None:
    """One hostile client, one connection after the other."""
    rng = random.Random(seed)
    name, port = address.split(":")
    while time.monotonic() < end_s:
        kind, pieces, held_s = rng.choice(abuses(address, picture, rng))
        try:
            with socket.create_connection((name, int(port)), timeout=5) as line:
                for piece in pieces:
                    line.sendall(piece)
                    time.sleep(rng.uniform(0, 0.05))
                time.sleep(min(held_s, max(0.0, end_s - time.monotonic())))
        except OSError:
            done["closed by the server"] += 1
        done[kind] += 1


def follow(
    name: str, ask: Callable[[], bytes], server: psutil.Process, end_s: float
) -> tuple[list[str], str]:
    """A well-behaved client until the end: what went wrong, and a row of the table."""
    wrong, seconds, held, files = [], [], [], []
    while time.monotonic() < end_s:
        began_s = time.monotonic()
        try:
            ask()
        except OSError as error:
            wrong.append(f"{name}: {error!r} after {time.monotonic() - began_s:.1f} s")
            if not server.is_running():
                break
        seconds.append(time.monotonic() - began_s)
        held.append(server.memory_info().rss / 2**20)
        files.append(server.num_fds())
        time.sleep(EVERY_S)
    early = len(held) // 5
    return wrong, (
        f"| {name} | {len(seconds)} | {len(wrong)} | {max(seconds):.1f} | {held[0]:.0f} "
        f"| {held[early]:.0f} | {held[-1]:.0f} | {max(held):.0f} | {max(files)} | {files[-1]} |"
    )


def started(arguments: list[str], room: Path, log: Path) -> tuple[psutil.Process, str]:
    """A command of pillsnap and the address it prints."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pillsnap.cli", *arguments],
            cwd=room, stdout=output, stderr=output,
        )  # fmt: skip
    late_s = time.monotonic() + START_S
    while "http://" not in (text := log.read_text("utf-8", "replace")):
        if process.poll() is not None or time.monotonic() > late_s:
            sys.exit(f"{arguments[0]} did not start:\n{text}")
        time.sleep(0.2)
    return psutil.Process(process.pid), text.split("http://")[1].split("/")[0].split()[0]


def main() -> None:
    """Start both, abuse both, print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--backend", default="torch", choices=("torch", "onnx"))
    parser.add_argument("--model", help="a bundle")
    options = parser.parse_args()
    picture = photos([])[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        live = folder / "artifacts" / "demo" / "live"
        live.mkdir(parents=True)
        (live / "events.jsonl").write_bytes(events(2000))
        (folder / "params.yaml").write_bytes(Path("params.yaml").read_bytes())
        model = ["--model", options.model] if options.model else []
        commands = {
            "serve": ["serve", "--port", "0", "--backend", options.backend, *model],
            "monitor": ["monitor", "--port", "0", "--scale", "demo"],
        }
        logs = {each: folder / f"{each}.log" for each in commands}
        rooms = {"serve": Path.cwd(), "monitor": folder}
        servers = {each: started(commands[each], rooms[each], logs[each]) for each in commands}
        end_s = time.monotonic() + 60 * options.minutes
        done: Counter[str] = Counter()
        for each, (_, address) in servers.items():
            for number in range(ABUSERS):
                seed = hash((each, number)) % 2**32
                work = (address, picture, end_s, seed, done)
                threading.Thread(target=abuse, args=work, daemon=True).start()
        header = {"Content-Type": "image/jpeg"}
        urls = {each: f"http://{address}" for each, (_, address) in servers.items()}
        requests = {
            "serve": Request(f"{urls['serve']}/v1/recognise", picture, header),
            "monitor": Request(f"{urls['monitor']}/api/state"),
        }
        found: dict[str, tuple[list[str], str]] = {}

        def watched(each: str) -> None:
            def ask() -> bytes:
                with urlopen(requests[each], timeout=PATIENCE_S) as answer:
                    return bytes(answer.read())

            found[each] = follow(each, ask, servers[each][0], end_s)

        clients = [threading.Thread(target=watched, args=(each,)) for each in servers]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        print("| server | requests | failed | slowest, s | MB at first | MB after a fifth of the "
              "time | MB at the end | most MB | most open files | at the end |")  # fmt: skip
        print("|---" * 10 + "|")
        wrong = [line for lines, _ in found.values() for line in lines]
        for _, row in found.values():
            print(row)
        print(", ".join(f"{count} x {kind}" for kind, count in sorted(done.items())))
        for each, (server, _) in servers.items():
            if not server.is_running() or server.status() == psutil.STATUS_ZOMBIE:
                wrong.append(f"{each} has ended")
            else:
                server.terminate()
            if "Traceback" in (text := logs[each].read_text("utf-8", "replace")):
                wrong.append(f"{each} logged\n{text[-3000:]}")
        print("\n".join(wrong))
        os._exit(bool(wrong))


if __name__ == "__main__":
    main()
