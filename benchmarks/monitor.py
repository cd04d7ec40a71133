"""What the monitor costs: beside a training, catching up, in memory, and when nothing happens.

    python benchmarks/monitor.py --rounds 4 --steps 3000 --viewers 200 --idle 60

A round trains the classifier on drawn crops beside a monitor with viewers of whom one never reads;
every other second monitor and viewers are stopped (SIGSTOP) or go on, so that what else changes on
the machine meets both alike. The viewers are a process of their own: on a machine of few cores they
take time from the trainer too. Printed are medians over the steps, and the weights' sha256 beside
that of a training that was left alone.
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
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import orjson
import psutil
import torch
from drawn_set import draw
from websockets.asyncio.client import connect
from websockets.sync.client import connect as connect_sync

from pillsnap import params
from pillsnap.classification import classifier
from pillsnap.classification import train as training
from pillsnap.classification.augment import Augmenter
from pillsnap.classification.batches import Batch
from pillsnap.classification.train import Plan, Trainer
from pillsnap.monitor import daemon
from pillsnap.stage.log import RunLog
from pillsnap.training import checkpoints
from pillsnap.training.checkpoints import WorkFolder

ROOT = Path(__file__).parents[1]
EVENTS = 10_000
CLASSES, CROP_PX, IMAGE_PX, BATCH = 8, 48, 32, 16
LOG_LINE = "epoch 3/18  loss/train 0.4123  loss/val 0.5321  top1 0.8512  top5 0.9812  lr 0.0003"
SETTLED = 1 / 6  # of a turn, left out


def train(folder: Path, steps: int) -> None:
    """The child: train; print when every step ended, on the monotonic clock, and the hash."""
    torch.set_num_threads(1)
    recipe = params.load(ROOT / "params.yaml").train_classification
    crops_dir = folder / f"crops_{CROP_PX}"
    known = len(training.CropDataset(crops_dir / "train.arrow", IMAGE_PX, None, 1))
    plan = Plan(
        epochs=2, repeats=max(1, round(steps * BATCH / known / 2)), batch_size=BATCH, lr=1e-3,
        recipe=recipe, seed=1, device=torch.device("cpu"), dtype=None, compile=False,
        num_workers=0, goals={},
    )  # fmt: skip
    model = classifier.build("test_resnet", CLASSES, None, 1)
    live = folder / "run" / "live"
    step, ended_s = Trainer.train_step, []

    def timed(trainer: Trainer, batch: Batch, whole: int | None = None) -> None:
        step(trainer, batch, whole)
        ended_s.append(time.monotonic())

    Trainer.train_step = timed  # type: ignore[method-assign]
    with (
        tempfile.TemporaryDirectory() as work_dir,
        RunLog("train_classification", live, "ERROR") as log,
        WorkFolder("train_classification", "benchmark", Path(work_dir)) as work,
    ):
        trained = training.train(
            model, plan, crops_dir, Augmenter(IMAGE_PX, recipe), work, live / "classification", log
        )
    print(json.dumps({"ended_s": ended_s, "hash": checkpoints.weights_hash(trained.weights)}))


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
def monitored(folder: Path, viewers: int) -> Iterator[list[psutil.Process]]:
    """A monitor of folder/run with viewers, the last of them stalled; its process and theirs."""
    started = daemon.start(folder / "run", "127.0.0.1", 0, None, folder / "daemon")
    crowd = subprocess.Popen(child("--watch", started.port, "--viewers", max(viewers - 1, 0)))
    deaf = stalled(started.port) if viewers else None
    try:
        while viewers_of(started.url) < viewers:
            time.sleep(0.1)
        yield [psutil.Process(started.pid), psutil.Process(crowd.pid)]
    finally:
        crowd.kill()
        crowd.wait()
        if deaf:
            deaf.close()
        daemon.stop(folder / "daemon")


def viewers_of(url: str) -> int:
    """How many viewers the monitor counts."""
    from urllib.request import urlopen

    with urlopen(f"{url}api/state", timeout=60) as answer:
        return int(orjson.loads(answer.read())["viewers"])


def training_of(folder: Path, steps: int) -> "subprocess.Popen[bytes]":
    """A training in its own process, which says what it has to in a file."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / "said.json").open("wb") as said:
        return subprocess.Popen(
            child("--train", folder, "--steps", steps), env=environment, stdout=said
        )


def told(process: "subprocess.Popen[bytes]", folder: Path) -> tuple[list[float], str]:
    """When the training's steps ended, and the hash of its weights."""
    if process.wait():
        sys.exit("The training failed: see above.")
    said = json.loads((folder / "said.json").read_text().splitlines()[-1])
    return said["ended_s"], said["hash"]


def alternated(folder: Path, rounds: int, steps: int, viewers: int, turn_s: float) -> None:
    """Trainings beside a crowd that is stopped every other time."""
    hashes = {told(training_of(folder, steps), folder)[1]}
    milliseconds: dict[bool, list[float]] = {True: [], False: []}
    differences = []
    for _ in range(rounds):
        with monitored(folder, viewers) as crowd:
            process = training_of(folder, steps)
            turns = take_turns(process, crowd, turn_s)
            ended_s, found = told(process, folder)
        hashes.add(found)
        of_round = durations(ended_s, turns)
        watched, alone = (statistics.median(of_round[way]) for way in (True, False))
        differences.append(watched / alone - 1)
        for way in milliseconds:
            milliseconds[way] += of_round[way]
    print(f"\n| a step of the training | alone | beside {viewers} viewers | difference |")
    print("|---|---|---|---|")
    alone, watched = (statistics.median(milliseconds[way]) for way in (False, True))
    of_rounds = ", ".join(f"{difference:+.1%}" for difference in sorted(differences))
    print(f"| ms | {alone:.2f} | {watched:.2f} | {watched / alone - 1:+.2%} |")
    print(f"{sum(map(len, milliseconds.values()))} steps; the rounds' differences: {of_rounds}")
    print(f"weights: {'one sha256 in all' if len(hashes) == 1 else f'{len(hashes)} sha256'}")


def take_turns(
    process: "subprocess.Popen[bytes]", crowd: list[psutil.Process], turn_s: float
) -> list[tuple[float, bool]]:
    """Stop the crowd and let it go on until the training has ended; when which began."""
    turns, watched = [], True
    while process.poll() is None:
        turns.append((time.monotonic(), watched))
        time.sleep(turn_s)
        watched = not watched
        for one in crowd:
            one.resume() if watched else one.suspend()
    for one in crowd:
        one.resume()
    return [*turns, (time.monotonic(), watched)]


def durations(ended_s: list[float], turns: list[tuple[float, bool]]) -> dict[bool, list[float]]:
    """Milliseconds of the steps that lie within a turn; the first moments of each are left out."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for (begun_s, watched), (over_s, _) in pairwise(turns):
        inside = [at for at in ended_s if begun_s + SETTLED * (over_s - begun_s) < at < over_s]
        found[watched] += [1e3 * (after - before) for before, after in pairwise(inside)]
    return found


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
    with monitored(folder, 0) as (process, _):
        port = daemon.running(folder / "daemon")
        assert port is not None
        with connect_sync(f"ws://127.0.0.1:{port.port}/ws", max_size=None) as line:
            line.recv()
            time.sleep(2.0)  # a client hears once a second: nothing has happened for longer
            path.write_bytes(events(EVENTS))
            begun_s, told, cpu = time.perf_counter(), 0, sum(process.cpu_times()[:2])
            while told < EVENTS:
                news = orjson.loads(line.recv(timeout=60))["set"]
                told = news.get("source", {}).get("events", told)
            seconds = time.perf_counter() - begun_s
            cpu = sum(process.cpu_times()[:2]) - cpu
        megabytes = process.memory_info().rss / 1e6
    print("\n| monitor | measured | goal |\n|---|---|---|")
    print(f"| {EVENTS:,} events written at once are shown after | {seconds:.2f} s | < 1 s |")
    print(f"| CPU for them | {cpu:.2f} s | |")
    print(f"| resident after them | {megabytes:.0f} MB | < 60 MB |")


def follow(folder: Path, viewers: int, seconds: int) -> None:
    """CPU and bytes while a training writes an event a second, a line and an epoch every 20 s."""
    path = folder / "run" / "live" / "events.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = events(4000).splitlines(keepends=True)
    log = [{**orjson.loads(line), "kind": "log", "message": LOG_LINE} for line in lines[:400]]
    path.write_bytes(b"".join([*(orjson.dumps(line) + b"\n" for line in log), *lines]))
    with monitored(folder, viewers) as (process, _):
        started = daemon.running(folder / "daemon")
        assert started is not None
        with connect_sync(f"ws://127.0.0.1:{started.port}/ws", max_size=None) as line:
            line.recv()
            before, received = sum(process.cpu_times()[:2]), 0
            for event in following_events(seconds):
                with path.open("ab") as file:
                    file.write(event)
                end_s = time.monotonic() + 1
                while (left_s := end_s - time.monotonic()) > 0:
                    with suppress(TimeoutError):
                        received += len(line.recv(timeout=left_s))
            share = (sum(process.cpu_times()[:2]) - before) / seconds
    print(f"| share of a core beside a training, {viewers} viewers | {share:.1%} | |")
    print(f"| bytes per viewer and second | {received / seconds:,.0f} | |")


def following_events(seconds: int) -> Iterator[bytes]:
    """An event for each second; every 20th with a log line and the end of an epoch."""
    lines = events(4000 + seconds).splitlines(keepends=True)[4000:]
    for number, line in enumerate(lines):
        event = {**orjson.loads(line), "time": time.time()}
        log = {**event, "kind": "log", "message": LOG_LINE}
        extra = orjson.dumps(log) + b"\n" if number % 20 == 0 else b""
        yield orjson.dumps(event) + b"\n" + extra


def idle(folder: Path, viewers: int, seconds: float) -> None:
    """Share of a core and memory while nothing happens."""
    for count in (0, viewers):
        with monitored(folder, count) as (process, _):
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
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=3000, help="of each training, about")
    parser.add_argument("--turn", type=float, default=1.0, help="seconds with or without them")
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
            follow(folder, asked.viewers, round(asked.idle))
            idle(folder, asked.viewers, asked.idle)
            alternated(folder, asked.rounds, asked.steps, asked.viewers, asked.turn)
            print(f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
