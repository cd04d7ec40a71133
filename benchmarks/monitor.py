"""Cost of the monitor: to a training on the same machine, while following, in memory, and idle.

    python benchmarks/monitor.py --rounds 4 --steps 3000 --viewers 200 --idle 60

A round trains the classifier on synthetic crops while a monitor has viewers, one of which never
reads. Monitor and viewers are stopped (SIGSTOP) every other second, so that other load affects both
measurements alike. The viewers are a process of their own: with few cores they take time from the
trainer too. Prints medians over the steps, and whether the weights equal those without a monitor.
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
from urllib.request import urlopen

import orjson
import psutil
import torch
from drawn_events import LOG_LINE, events, following
from drawn_set import draw
from websockets.asyncio.client import connect
from websockets.sync.client import connect as connect_sync

from pillsnap import params
from pillsnap.classification import classifier
from pillsnap.classification import train as training
from pillsnap.classification.augment import Augmenter
from pillsnap.classification.batches import Batch
from pillsnap.classification.train import ClassificationPlan, Trainer
from pillsnap.monitor import daemon
from pillsnap.stage.log import RunLog
from pillsnap.training import checkpoints
from pillsnap.training.checkpoints import WorkFolder

ROOT = Path(__file__).parents[1]
EVENTS = 10_000
CLASSES, CROP_PX, IMAGE_PX, BATCH = 8, 48, 32, 16
SETTLED = 1 / 6  # of a turn, left out


def train(folder: Path, steps: int) -> None:
    """The child: train; print when every step ended, on the monotonic clock, and the hash."""
    torch.set_num_threads(1)
    recipe = params.load(ROOT / "params.yaml").train_classification
    crops_dir = folder / f"crops_{CROP_PX}"
    known = len(training.CropDataset(crops_dir / "train.arrow", IMAGE_PX, None, 1))
    plan = ClassificationPlan(
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
    """The child: viewers that read and drop messages, until killed."""

    async def one() -> None:
        address = f"ws://127.0.0.1:{port}/ws"
        async with connect(address, max_size=None, compression=None, ping_interval=None) as line:
            async for _ in line:
                pass

    async def everyone() -> None:
        await asyncio.gather(*(one() for _ in range(viewers)))

    asyncio.run(everyone())


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
    """This script as a child."""
    return [sys.executable, __file__, *map(str, arguments)]


@contextmanager
def monitored(folder: Path, viewers: int) -> Iterator[list[psutil.Process]]:
    """A monitor of folder/run with viewers, the last of them stalled; its process and theirs."""
    started = daemon.start(folder / "run", "127.0.0.1", 0, folder / "daemon")
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


def address(folder: Path) -> str:
    """The WebSocket of the running monitor."""
    return f"ws://127.0.0.1:{daemon.running(folder / 'daemon').port}/ws"


def viewers_of(url: str) -> int:
    """How many viewers the monitor counts."""
    with urlopen(f"{url}api/state", timeout=60) as answer:
        return int(orjson.loads(answer.read())["viewers"])


def training_of(folder: Path, steps: int) -> "subprocess.Popen[bytes]":
    """A training in its own process; its result is in output.json."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / "output.json").open("wb") as output:
        return subprocess.Popen(
            child("--train", folder, "--steps", steps), env=environment, stdout=output
        )


def result_of(process: "subprocess.Popen[bytes]", folder: Path) -> tuple[list[float], str]:
    """When the training's steps ended, and the hash of its weights."""
    if process.wait():
        sys.exit("The training failed: see above.")
    output = json.loads((folder / "output.json").read_text().splitlines()[-1])
    return output["ended_s"], output["hash"]


def alternated(folder: Path, rounds: int, steps: int, viewers: int, turn_s: float) -> None:
    """Trainings with viewers that are stopped in every other turn."""
    hashes = {result_of(training_of(folder, steps), folder)[1]}
    milliseconds: dict[bool, list[float]] = {True: [], False: []}
    differences = []
    for _ in range(rounds):
        with monitored(folder, viewers) as crowd:
            process = training_of(folder, steps)
            turns = take_turns(process, crowd, turn_s)
            ended_s, found = result_of(process, folder)
        hashes.add(found)
        of_round = durations(ended_s, turns)
        watched, alone = (statistics.median(of_round[way]) for way in (True, False))
        differences.append(watched / alone - 1)
        for way in milliseconds:
            milliseconds[way] += of_round[way]
    print(f"\n| training step | alone | with {viewers} viewers | difference |")
    print("|---|---|---|---|")
    alone, watched = (statistics.median(milliseconds[way]) for way in (False, True))
    of_rounds = ", ".join(f"{difference:+.1%}" for difference in sorted(differences))
    print(f"| ms | {alone:.2f} | {watched:.2f} | {watched / alone - 1:+.2%} |")
    print(f"{sum(map(len, milliseconds.values()))} steps; differences of the rounds: {of_rounds}")
    print(f"weights: {'one sha256 in all' if len(hashes) == 1 else f'{len(hashes)} sha256'}")


def take_turns(
    process: "subprocess.Popen[bytes]", crowd: list[psutil.Process], turn_s: float
) -> list[tuple[float, bool]]:
    """Stop and resume the crowd until the training has ended; the start of each turn."""
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
    """Milliseconds of the steps that lie within a turn; the start of each is left out."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for (started_s, watched), (over_s, _) in pairwise(turns):
        inside = [at for at in ended_s if started_s + SETTLED * (over_s - started_s) < at < over_s]
        found[watched] += [1e3 * (after - before) for before, after in pairwise(inside)]
    return found


def catch_up(folder: Path) -> None:
    """Time until a viewer has all of many events written at once; CPU and memory."""
    path = folder / "run" / "live" / "events.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    with monitored(folder, 0) as (process, _):
        with connect_sync(address(folder), max_size=None) as line:
            line.recv()
            time.sleep(2.0)  # a client receives once a second: the monitor is idle for longer
            path.write_bytes(events(EVENTS))
            started_s, shown, cpu = time.perf_counter(), 0, sum(process.cpu_times()[:2])
            while shown < EVENTS:
                news = orjson.loads(line.recv(timeout=60))["set"]
                shown = news.get("source", {}).get("events", shown)
            seconds = time.perf_counter() - started_s
            cpu = sum(process.cpu_times()[:2]) - cpu
        megabytes = process.memory_info().rss / 1e6
    print("\n| monitor | measured | goal |\n|---|---|---|")
    print(f"| {EVENTS:,} events written at once are shown after | {seconds:.2f} s | < 1 s |")
    print(f"| CPU for them | {cpu:.2f} s | |")
    print(f"| resident after them | {megabytes:.0f} MB | < 60 MB |")


def follow(folder: Path, viewers: int, seconds: int) -> None:
    """CPU and bytes while a training writes an event every second, a log line every 20 s."""
    path = folder / "run" / "live" / "events.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = events(4000).splitlines(keepends=True)
    log = [{**orjson.loads(line), "kind": "log", "message": LOG_LINE} for line in lines[:400]]
    path.write_bytes(b"".join([*(orjson.dumps(line) + b"\n" for line in log), *lines]))
    with (
        monitored(folder, viewers) as (process, _),
        connect_sync(address(folder), max_size=None) as line,
    ):
        line.recv()
        before, received = sum(process.cpu_times()[:2]), 0
        for event in following(seconds):
            with path.open("ab") as file:
                file.write(event)
            end_s = time.monotonic() + 1
            while (left_s := end_s - time.monotonic()) > 0:
                with suppress(TimeoutError):
                    received += len(line.recv(timeout=left_s))
        share = (sum(process.cpu_times()[:2]) - before) / seconds
    print(f"| share of a core during a training, {viewers} viewers | {share:.1%} | |")
    print(f"| bytes per viewer and second | {received / seconds:,.0f} | |")


def idle(folder: Path, viewers: int, seconds: float) -> None:
    """Share of a core and memory while nothing is written."""
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
    parser.add_argument("--turn", type=float, default=1.0, help="seconds with or without viewers")
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--crops", type=int, default=400)
    parser.add_argument("--idle", type=float, default=60.0, help="seconds, also of following")
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
