"""Event files for the monitor's tests, as the stages write them."""

from dataclasses import dataclass, field
from math import exp
from pathlib import Path
from typing import Any

import orjson

from pillsnap import files
from pillsnap.monitor.events import Event, parse
from pillsnap.monitor.state import State, fold
from pillsnap.places import MODELS, Places

STAGE = "train_classification"
LINE = {"time": 1.5, "stage": "train_detection", "kind": "progress", "run": "ab12"}
HOST = {"cpu_pct": 71.0, "ram_used_mb": 5200.0, "ram_total_mb": 31800.0, "disk_free_gb": 412.6}
GPU = {
    "gpu_name": "NVIDIA GeForce RTX 5080",
    "gpu_util_pct": 93.0,
    "gpu_memory_used_mb": 13210.0,
    "gpu_memory_total_mb": 16303.0,
    "gpu_temperature_c": 67.0,
    "gpu_power_w": 241.0,
}
FAILURE = {
    "message": "CUDA out of memory: tried to allocate 1.50 GiB, 0.41 GiB of 15.9 GiB were free.",
    "cause": "train.batch_size is 32 at 384 px and pid 4711 (python) holds 3.2 GB of the GPU.",
    "cures": ["pillsnap train --batch-size 16 --resume", "kill 4711, then: pillsnap train"],
}


def line(**changes: Any) -> bytes:
    return orjson.dumps({**LINE, **changes}) + b"\n"


def events_of(text: bytes) -> list[Event]:
    return [event for event in map(parse, text.splitlines()) if event is not None]


def event(kind: str, time: float = 1.0, run: str = "a", stage: str = STAGE, **rest: Any) -> Event:
    """One event, of the classifier's training by default."""
    [parsed] = events_of(line(time=time, stage=stage, kind=kind, run=run, **rest))
    return parsed


def folded(*events: Event) -> State:
    return fold(State(), events)


def append(path: Path, *lines: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(lines))


@dataclass
class DrawnRun:
    """Events of stages; the clock moves with the work."""

    gpu: bool = False
    clock_s: float = 1000.0
    events: list[dict[str, Any]] = field(default_factory=list)

    def add(self, stage: str, kind: str, run: str, **rest: Any) -> None:
        self.clock_s += 1.0
        own = {"time": self.clock_s, "stage": stage, "kind": kind, "run": run}
        self.events.append({"hardware": HOST | GPU if self.gpu else HOST, **own, **rest})

    def text(self, end_s: float | None = None) -> bytes:
        """The lines; the last event is at `end_s`."""
        shift = 0.0 if end_s is None else end_s - self.clock_s
        return b"".join(line(**{**e, "time": e["time"] + shift}) for e in self.events)

    def train(
        self, stage: str, name: str, epochs: int, until: float, begin: int = 0, **goals: float
    ) -> None:
        """Epochs begin + 1 to `until`; a fraction stops inside an epoch, without an end."""
        goals = {f"goal/{goal}": value for goal, value in goals.items()}
        self.add(stage, "log", name, message="test_resnet, 24 classes, on cpu")
        self.add(stage, "start", name, epoch=begin, total=epochs, metrics=goals)
        for epoch in range(begin + 1, epochs + 1):
            for step in range(1, 21):
                done = epoch - 1 + step / 20
                if done > until:
                    return
                metrics = {"images_per_s": 812.0, "loss": 3.2 * exp(-3.5 * done / epochs)}
                self.add(stage, "progress", name, metrics=metrics, epoch=epoch, step=step, total=20)
            self.epoch(stage, name, epoch, epochs)
        self.add(stage, "end", name, metrics={"minutes": 0.2}, message="finished")

    def epoch(self, stage: str, name: str, epoch: int, epochs: int) -> None:
        rise = 0.97 * (1 - exp(-5 * epoch / epochs))
        merits = ("map50", "map50_95") if stage == "train_detection" else ("top1", "top5")
        metrics = {"loss/train": 1 - rise, "loss/val": 1.1 - rise, "lr": 3e-4, "seconds": 20.0}
        metrics |= dict.fromkeys(merits, rise) | {"images_per_s": 812.0}
        self.add(stage, "epoch", name, epoch=epoch, total=epochs, metrics=metrics)
        self.add(stage, "log", name, message=f"epoch {epoch}/{epochs}")


def drawn_run(end_s: float, gpu: bool = False) -> bytes:
    """Two earlier runs and one in the middle of its classification, the last event at `end_s`."""
    run = DrawnRun(gpu)
    named = {"top1": 0.85, "minutes": 120.0}
    for number, epochs in enumerate((12, 18)):
        run.train("train_detection", f"d{number}", epochs, epochs, map50=0.3)
        run.train(STAGE, f"c{number}", epochs, epochs - 1.5, **named)
        run.clock_s += 5 * 3600
    rejected = "자료/K-000030_0_0_2_0_90_000_200.png: cut short after 20,480 of 1,310,044 bytes"
    for stage in ("build_manifest", "validate"):
        run.add(stage, "start", stage[0], total=1310)
        run.add(stage, "progress", stage[0], step=700, total=1310)
        run.add(stage, "end", stage[0], metrics={"minutes": 0.2}, message="done")
    run.add("validate", "log", "v", level="WARNING", message=rejected)
    run.train("train_detection", "d2", 18, 18, map50=0.3)
    run.train(STAGE, "c2", 18, 11.55, **named)
    return run.text(end_s)


def write_run(artifacts_dir: Path, events: bytes) -> Path:
    """Put events and the summaries of the other stages under artifacts_dir."""
    check = {"name": "frames decode", "status": "warn", "count": 1}
    passed = {"name": "boxes inside their frame", "status": "pass", "count": 1500, "examples": []}
    checks = [{**check, "examples": ["자료/K-000030.png"]}, passed, passed, passed]
    validation = {"ok": True, "checks": checks, "admitted": {"pills": 1499, "frames": 1309}}
    targets = {
        "classification_top1": {"goal": 0.85, "value": 0.9512, "met": True},
        "detection_map50": {"goal": 0.3, "value": 0.991, "met": True},
        "training_minutes": {"goal": 5, "value": 6.2, "met": False},
    }
    metrics = {"targets": targets, "detection": {"map50": 0.991, "frames": 120}}
    metrics |= {"classification": {"top1": 0.9512, "top5": 0.998, "macro_f1": 0.947}}
    provenance = {"git_revision": "0123456789abcdef"}
    for model in MODELS:
        path = Places(artifacts_dir, artifacts_dir, artifacts_dir.name).checkpoint(model)
        files.write_bytes(path, model.encode())
        provenance[f"{model}_sha256"] = files.sha256_of(path)
    written = {"validation": validation, "metrics": metrics}
    for name, tree in {**written, "evaluation": {"provenance": provenance}}.items():
        (artifacts_dir / f"{name}.json").write_bytes(orjson.dumps(tree))
    events_path = artifacts_dir / "live" / "events.jsonl"
    files.write_bytes(events_path, events)
    return events_path
