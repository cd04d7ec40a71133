"""Event files as a training writes them, for benchmarks/monitor.py."""

import time
from collections.abc import Iterator

import orjson

LOG_LINE = "epoch 3/18  loss/train 0.4123  loss/val 0.5321  top1 0.8512  top5 0.9812  lr 0.0003"


def events(count: int) -> bytes:
    """So many lines: 20 steps, then an epoch, each with a hardware sample."""
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


def following(seconds: int) -> Iterator[bytes]:
    """Lines to append after 4,000 others, one for each second; every 20th with a log line."""
    lines = events(4000 + seconds).splitlines(keepends=True)[4000:]
    for number, line in enumerate(lines):
        event = {**orjson.loads(line), "time": time.time()}
        log = {**event, "kind": "log", "message": LOG_LINE}
        extra = orjson.dumps(log) + b"\n" if number % 20 == 0 else b""
        yield orjson.dumps(event) + b"\n" + extra
