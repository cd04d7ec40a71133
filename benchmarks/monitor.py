"""What the monitor costs: beside a training, catching up, in memory, and when nothing happens.

    python benchmarks/monitor.py --rounds 7 --steps 600 --viewers 200 --idle 60

A round trains the classifier on drawn crops twice, alone and beside a monitor with viewers of
whom one never reads; which comes first alternates. The viewers are a process of their own. On a
machine of few cores they take time from the trainer, so look at the trainer's CPU time by step
(all its threads) beside the wall time. Printed are medians of paired differences.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import psutil
import torch
from drawn_set import draw
from websockets.asyncio.client import connect
from websockets.sync.client import connect as connect_sync

from pillsnap import classifier, params, training
from pillsnap.augment import Augmenter
from pillsnap.checkpoints import WorkFolder
from pillsnap.monitor import daemon
from pillsnap.run_log import RunLog
from pillsnap.training import Plan

ROOT = Path(__file__).parents[1]
EVENTS = 10_000
CLASSES, CROP_PX, IMAGE_PX, BATCH = 8, 48, 32, 16


def train(folder: Path, steps: int) -> None:
    """The child: train and print wall and CPU seconds, steps and the hash of the weights."""
    torch.set_num_threads(1)
    recipe = params.load(ROOT / "params.yaml").train_classification
    crops_dir = folder / f"crops_{CROP_PX}"
    known = len(training.CropDataset(crops_dir / "train.arrow", IMAGE_PX, None, 1))
    epochs = max(2, round(steps * BATCH / known))
    plan = Plan(
        epochs=epochs, repeats=1, batch_size=BATCH, lr=1e-3, recipe=recipe, seed=1,
        device=torch.device("cpu"), dtype=None, compile=False, num_workers=0, goals={},
    )  # fmt: skip
    model = classifier.build("test_resnet", CLASSES, None, 1)
    live = folder / "run" / "live"
    with (
        tempfile.TemporaryDirectory() as work_dir,
        RunLog("train_classification", live, "ERROR") as log,
        WorkFolder("train_classification", "benchmark", Path(work_dir)) as work,
    ):
        wall, cpu = time.perf_counter(), time.process_time()
        trained = training.train(
            model, plan, crops_dir, Augmenter(IMAGE_PX, recipe), work, live / "classification", log
        )
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    done = epochs * known / BATCH
    digest = training_hash(trained.weights)
    print(json.dumps({"wall_ms": 1e3 * wall / done, "cpu_ms": 1e3 * cpu / done, "hash": digest}))


def training_hash(weights: dict[str, torch.Tensor]) -> str:
    """sha256 of the weights."""
    from pillsnap import checkpoints

    return checkpoints.weights_hash(weights)


def watch(port: int, viewers: int) -> None:
    """The child: viewers that read what they are told and drop it, until killed."""

    async def one() -> None:
        address = f"ws://127.0.0.1:{port}/ws"
        async with connect(address, max_size=None, compression=None, ping_interval=None) as line:
            async for _ in line:
                pass

    async def all_of_them() -> None:
        await asyncio.gather(*(one() for _ in range(viewers)))

    asyncio.run(all_of_them())


def stalled(port: int) -> socket.socket:
    """A viewer that shakes hands and never reads."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", port))
    head = f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
    head += "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    raw.sendall(f"{head}Sec-WebSocket-Version: 13\r\n\r\n".encode())
    return raw


def child(*arguments: object) -> list[str]:
    """This script in another role."""
    return [sys.executable, __file__, *map(str, arguments)]


@contextmanager
def monitored(folder: Path, viewers: int) -> Iterator[psutil.Process]:
    """A monitor of folder/run with viewers, the last of them stalled; its process."""
    started = daemon.start(folder / "run", "127.0.0.1", 0, None, folder / "daemon")
    crowd = subprocess.Popen(child("--watch", started.port, "--viewers", max(viewers - 1, 0)))
    deaf = stalled(started.port) if viewers else None
    try:
        while clients(started.url) < viewers:
            time.sleep(0.1)
        yield psutil.Process(started.pid)
    finally:
        crowd.kill()
        crowd.wait()
        if deaf:
            deaf.close()
        daemon.stop(folder / "daemon")


def clients(url: str) -> int:
    """How many viewers the monitor counts."""
    from urllib.request import urlopen

    with urlopen(f"{url}healthz", timeout=60) as answer:
        return int(orjson.loads(answer.read())["clients"])


def trained(folder: Path, steps: int) -> dict[str, float | str]:
    """Figures of one training in its own process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        child("--train", folder, "--steps", steps), env=environment, check=True, text=True,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    found: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
    return found


def paired(folder: Path, rounds: int, steps: int, viewers: int) -> None:
    """Trainings alone and beside the crowd, in turns."""
    pairs = []
    for number in range(rounds):
        figures = {}
        for beside in (number % 2 == 0, number % 2 == 1):
            if beside:
                with monitored(folder, viewers):
                    figures[beside] = trained(folder, steps)
            else:
                figures[beside] = trained(folder, steps)
        pairs.append((figures[False], figures[True]))
    print(f"\n| trainer, by step | alone | beside {viewers} viewers | difference |")
    print("|---|---|---|---|")
    for name, key in (("wall ms", "wall_ms"), ("CPU ms", "cpu_ms")):
        alone, beside = ([float(pair[i][key]) for pair in pairs] for i in (0, 1))
        more = statistics.median(b / a - 1 for a, b in zip(alone, beside, strict=True))
        medians = f"{statistics.median(alone):.2f} | {statistics.median(beside):.2f}"
        print(f"| {name} | {medians} | {more:+.1%} |")
    hashes = {figures["hash"] for pair in pairs for figures in pair}
    print(f"weights: {'one sha256 in all' if len(hashes) == 1 else f'{len(hashes)} sha256'}")


def events(count: int) -> bytes:
    """Lines as a training writes them: 20 steps, then an epoch, with a sample of the machine."""
    lines, now = [], time.time() - count
    sample = {"cpu_pct": 71.0, "ram_used_mb": 5200.0, "ram_total_mb": 31800.0, "gpu_util_pct": 93.0}
    for number in range(count):
        epoch, step = number // 21 + 1, number % 21 + 1
        kind = "epoch" if step == 21 else "progress"
        event = {
            "time": now + number, "stage": "train_detection", "kind": kind, "run": "a",
            "epoch": epoch, "step": min(step, 20), "total": 20 if kind == "progress" else 500,
            "metrics": {"loss": 1 / epoch, "loss/train": 1 / epoch, "map50": 1 - 1 / epoch},
            "hardware": sample, "message": "", "level": "INFO",
        }  # fmt: skip
        lines.append(orjson.dumps(event) + b"\n")
    return b"".join(lines)


def catch_up(folder: Path) -> None:
    """Seconds from opening a line until a monitor has told of all events, and its memory."""
    path = folder / "run" / "live" / "events.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    with monitored(folder, 0) as process:
        port = daemon.running(folder / "daemon")
        assert port is not None
        with connect_sync(f"ws://127.0.0.1:{port.port}/ws", max_size=None) as line:
            line.recv()
            path.write_bytes(events(EVENTS))
            begun_s, told, cpu = time.perf_counter(), 0, sum(process.cpu_times()[:2])
            while told < EVENTS:
                message = orjson.loads(line.recv(timeout=60))
                state = message.get("state") or message.get("set") or {}
                told = state.get("source", {}).get("events", told)
            seconds = time.perf_counter() - begun_s
            cpu = sum(process.cpu_times()[:2]) - cpu
        megabytes = process.memory_info().rss / 1e6
    print("\n| monitor | measured | goal |\n|---|---|---|")
    print(f"| {EVENTS:,} events told, up to a second of it the wait for the next look "
          f"| {seconds:.2f} s | |")  # fmt: skip
    print(f"| CPU for them | {cpu:.2f} s | < 1 s |")
    print(f"| resident after them | {megabytes:.0f} MB | < 60 MB |")


def idle(folder: Path, viewers: int, seconds: float) -> None:
    """Share of a core and memory while nothing happens."""
    for count in (0, viewers):
        with monitored(folder, count) as process:
            before = sum(process.cpu_times()[:2])
            time.sleep(seconds)
            share = (sum(process.cpu_times()[:2]) - before) / seconds
            megabytes = process.memory_info().rss / 1e6
        print(f"| share of a core when idle, {count} viewers | {share:.2%} | < 1 % |")
        print(f"| resident, {count} viewers | {megabytes:.0f} MB | < 60 MB |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=600, help="of each training, about")
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--crops", type=int, default=400)
    parser.add_argument("--idle", type=float, default=60.0, help="seconds")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--watch", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.train:
        train(asked.train, asked.steps)
    elif asked.watch:
        watch(asked.watch, asked.viewers)
    else:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            draw(folder, asked.crops, CLASSES, (CROP_PX,), (244, 320))
            catch_up(folder)
            idle(folder, asked.viewers, asked.idle)
            paired(folder, asked.rounds, asked.steps, asked.viewers)
            print(f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
