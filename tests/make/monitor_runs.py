"""Event files for the monitor's tests, as the stages write them, drawn from a seed."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from pillsnap import files
from pillsnap.monitor.events import Event, parse
from pillsnap.monitor.state import State, fold
from pillsnap.places import MODELS, Places

HOUR_S = 3600.0
GPU = {
    "gpu_name": "NVIDIA GeForce RTX 5080",
    "gpu_util_pct": 93.0,
    "gpu_memory_used_mb": 13210.0,
    "gpu_memory_total_mb": 16303.0,
    "gpu_temperature_c": 67.0,
    "gpu_power_w": 241.0,
}


LINE = {
    "time": 1.5,
    "stage": "train_detection",
    "kind": "progress",
    "run": "ab12",
    "epoch": 3,
    "step": 7,
    "total": 20,
    "metrics": {"loss": 1.5, "map50": None},
    "hardware": {"cpu_pct": 50, "gpu_name": "GPU"},
    "message": "",
    "level": "INFO",
}


def line(**changes: Any) -> bytes:
    """A line of events.jsonl: LINE with changes."""
    return orjson.dumps({**LINE, **changes}) + b"\n"


def events_of(text: bytes) -> list[Event]:
    """The events in the lines of a file."""
    return [event for event in map(parse, text.splitlines()) if event is not None]


STAGE = "train_classification"


def event(kind: str, time: float = 1.0, run: str = "a", stage: str = STAGE, **rest: Any) -> Event:
    """One event, of the classifier's training by default."""
    empty = {"epoch": None, "step": None, "total": None, "metrics": {}, "hardware": {}}
    own = {"time": time, "stage": stage, "kind": kind, "run": run}
    [parsed] = events_of(line(**{**empty, **own, **rest}))
    return parsed


def folded(*events: Event) -> State:
    """The state after these events."""
    return fold(State(), events)


def append(path: Path, *lines: bytes) -> None:
    """Write to the end of a file, as a stage does."""
    with path.open("ab") as file:
        file.write(b"".join(lines))


@dataclass
class DrawnRun:
    """Appends events to `lines`; the clock moves with the work."""

    rng: np.random.Generator
    clock_s: float
    gpu: bool = False
    lines: list[bytes] = field(default_factory=list)

    def add(self, stage: str, kind: str, run: str, seconds: float = 1.0, **rest: Any) -> None:
        self.clock_s += seconds
        empty = {"epoch": None, "step": None, "total": None, "metrics": {}, "message": ""}
        event = {"time": self.clock_s, "stage": stage, "kind": kind, "run": run, "level": "INFO"}
        self.lines.append(orjson.dumps({**empty, "hardware": self._sample(), **event, **rest}))

    def text(self) -> bytes:
        return b"".join(line + b"\n" for line in self.lines)

    def _sample(self) -> dict[str, Any]:
        wobble = float(self.rng.normal())
        host = {"cpu_pct": min(100.0, 71 + 6 * wobble), "ram_used_mb": 5200 + 90 * wobble}
        gpu = {**GPU, "gpu_util_pct": min(100.0, 92 + 4 * wobble)} if self.gpu else {}
        heat = {"gpu_temperature_c": 66 + float(self.rng.normal()), "gpu_power_w": 238 + 9 * wobble}
        host |= {"ram_total_mb": 31800.0, "disk_free_gb": 412.6}
        return {**host, **gpu, **(heat if self.gpu else {})}


def state_of(run: DrawnRun) -> State:
    """The state after all events of a run."""
    return folded(*events_of(run.text()))


def short_stage(run: DrawnRun, stage: str, name: str, total: int, message: str) -> None:
    run.add(stage, "start", name, total=total)
    run.add(stage, "log", name, message=f"{total:,} units to look at")
    for step in np.linspace(0, total, 12, dtype=int)[1:]:
        run.add(stage, "progress", name, step=int(step), total=total)
    run.add(stage, "end", name, metrics={"minutes": 0.2}, message=message)


def epoch_metrics(stage: str, share: float, rng: np.random.Generator) -> dict[str, float]:
    """Plausible metrics `share` (0 to 1) of the way through a training."""
    rise = 1 - np.exp(-5 * share)
    wobble = float(rng.normal(scale=0.006))
    lr = 3e-4 * 0.5 * (1 + np.cos(np.pi * share)) + 1e-6
    both = {"lr": lr, "images_per_s": 812 + 300 * wobble, "seconds": 20.0}
    falling = 3.2 * np.exp(-3.5 * share)
    losses = {"loss/train": falling + 0.12, "loss/val": falling * 1.08 + 0.2 + wobble}
    if stage == "train_detection":
        found = min(0.995, 0.97 * rise + wobble)
        merits = {"map50": found, "map50_95": 0.84 * found}
        merits |= {"precision": 0.96 * found, "recall": 0.93 * found}
    else:
        named = min(0.999, 0.955 * rise + wobble)
        merits = {"top1": named, "top5": min(1.0, named + 0.1 * (1 - named) + 0.02)}
    return {key: float(value) for key, value in {**losses, **merits, **both}.items()}


def training(
    run: DrawnRun,
    stage: str,
    name: str,
    epochs: int,
    until: float,
    steps: int = 20,
    begin: int = 0,
    goals: dict[str, float] | None = None,
) -> None:
    """Epochs begin + 1 to `until`; a fraction stops inside an epoch, without an end."""
    run.add(stage, "log", name, message="test_resnet, 24 classes, on cpu")
    run.add(stage, "start", name, epoch=begin, total=epochs, metrics=goals or {})
    run.add(stage, "log", name, message=f"{epochs} epochs, batch 32, seed 0", level="DEBUG")
    for epoch in range(begin + 1, epochs + 1):
        for step in range(1, steps + 1):
            done = epoch - 1 + step / steps
            if done > until:
                return
            loss = 3.2 * np.exp(-3.5 * done / epochs) + 0.2 + run.rng.normal(scale=0.05)
            metrics = {"images_per_s": 812 + 12 * run.rng.normal(), "loss": float(loss)}
            place = {"epoch": epoch, "step": step, "total": steps}
            run.add(stage, "progress", name, metrics=metrics, **place)
        metrics = epoch_metrics(stage, epoch / epochs, run.rng)
        run.add(stage, "epoch", name, epoch=epoch, total=epochs, metrics=metrics)
        shown = ", ".join(f"{key} {value:.3g}" for key, value in metrics.items())
        run.add(stage, "log", name, seconds=0.1, message=f"epoch {epoch}/{epochs}: {shown}")
    run.add(stage, "end", name, metrics={"minutes": run.clock_s / 60 % 7}, message="finished")


def drawn_run(end_s: float, seed: int = 0, gpu: bool = False, until: float = 11.55) -> bytes:
    """Two earlier runs and one in the middle of its classification, the last event at `end_s`."""
    run = DrawnRun(np.random.default_rng(seed), 0.0, gpu)
    goals = {"goal/map50": 0.3}, {"goal/top1": 0.85, "goal/minutes": 120.0}
    for number, epochs in enumerate((12, 18)):
        training(run, "train_detection", f"d{number}", epochs, epochs, goals=goals[0])
        training(run, "train_classification", f"c{number}", epochs, epochs - 1.5, goals=goals[1])
        run.clock_s += 5 * HOUR_S
    short_stage(run, "build_manifest", "m2", 1500, "1,500 pills of 24 classes in 1,310 frames")
    short_stage(run, "validate", "v2", 1310, "1,309 frames admitted, 1 rejected")
    rejected = "자료/K-000030_0_0_2_0_90_000_200.png: cut short after 20,480 of 1,310,044 bytes"
    run.add("validate", "log", "v2", level="WARNING", message=rejected)
    training(run, "train_detection", "d2", 18, 18, goals=goals[0])
    training(run, "train_classification", "c2", 18, until, goals=goals[1])
    shift = end_s - run.clock_s
    events = [orjson.loads(line) for line in run.lines]
    return b"".join(orjson.dumps({**e, "time": e["time"] + shift}) + b"\n" for e in events)


FAILURE = {
    "message": "CUDA out of memory: tried to allocate 1.50 GiB, 0.41 GiB of 15.9 GiB were free.",
    "cause": "train.batch_size is 32 at 384 px and pid 4711 (python) holds 3.2 GB of the GPU.",
    "cures": [
        "pillsnap train --batch-size 16 --resume",
        "kill 4711, or wait until it ends, then: pillsnap train --resume",
    ],
}


def write_run(artifacts_dir: Path, events: bytes) -> Path:
    """Put events and the summaries of the other stages under artifacts_dir."""
    (artifacts_dir / "live").mkdir(parents=True, exist_ok=True)
    events_path = artifacts_dir / "live" / "events.jsonl"
    events_path.write_bytes(events)
    checks = [
        {"name": "frames decode", "status": "warn", "count": 1, "examples": ["자료/K-000030.png"]},
        {"name": "boxes inside their frame", "status": "pass", "count": 1500, "examples": []},
        {"name": "capture groups not torn apart", "status": "pass", "count": 412, "examples": []},
        {"name": "every class in train and val", "status": "pass", "count": 24, "examples": []},
    ]
    counted = {"pills": 1499, "frames": 1309}
    validation = {"ok": True, "checks": checks, "admitted": counted, "rejected": {"frames": 1}}
    (artifacts_dir / "validation.json").write_bytes(orjson.dumps(validation))
    targets = {
        "classification_top1": {"goal": 0.85, "value": 0.9512, "met": True},
        "detection_map50": {"goal": 0.3, "value": 0.991, "met": True},
        "training_minutes": {"goal": 5, "value": 6.2, "met": False},
    }
    metrics = {"targets": targets, "detection": {"map50": 0.991, "frames": 120}}
    metrics |= {"classification": {"top1": 0.9512, "top5": 0.998, "macro_f1": 0.947}}
    (artifacts_dir / "metrics.json").write_bytes(orjson.dumps(metrics))
    provenance = {"git_revision": "0123456789abcdef"}
    for model in MODELS:
        path = Places(artifacts_dir, artifacts_dir, artifacts_dir.name).checkpoint(model)
        files.write_bytes(path, model.encode())
        provenance[f"{model}_sha256"] = files.sha256_of(path)
    evaluation = {"provenance": provenance}
    (artifacts_dir / "evaluation.json").write_bytes(orjson.dumps(evaluation))
    return events_path
