"""As much of a stage 3 on drawn crops as the time allows. Part of gpu_check.py."""

import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import orjson
from gpu_sections import Asked, Facts, Record, SkippedError, plan, project
from gpu_speed import CLASSES, PEAK_TFLOPS, STAGE_3

from pillsnap.classification import classifier
from pillsnap.classification.augment import Augmenter
from pillsnap.classification.train import ClassificationPlan, train
from pillsnap.dataset.crops import CropStore
from pillsnap.stage.log import RunLog
from pillsnap.training import devices
from pillsnap.training.checkpoints import WorkFolder

SAMPLES, EPOCHS = 81_475, 18  # train crops and epochs of stage 3
MOST_EPOCHS = 6
SHIPPED_S = 25.0  # of the training as it is configured, from its first step on
LARGE_BATCH, LARGE_LR = 128, 1e-3
STAGE = "train_classification"
BANDWIDTH_GB = {"H200": 4800.0, "H100": 3350.0}  # by the data sheets
RTX_5080_TFLOPS, RTX_5080_GB = 225.0, 960.0  # dense bf16 summed in fp32; memory, a second


def as_configured(asked: Asked, _record: Record) -> Facts:
    """The training loop as params.yaml has it, stopped after a while: its steady rate."""
    wanted = plan(asked, project().batch_size)
    seconds = 2.0 if asked.small else SHIPPED_S
    return _trained(asked, replace(wanted, epochs=1), "as_configured", seconds)


def large_batches(asked: Asked, _record: Record) -> Facts:
    """Whole epochs at batch 128: rate, top-1 after each, and what stage 3 would take."""
    asked.needs_s(2 if asked.small else 40)
    store = CropStore(_crops(asked) / "train.arrow")
    seconds = len(store) / _expected_rate(asked)
    fit = int((asked.left_s - 15) / seconds / 1.15)  # validation is some 15 %
    epochs = 2 if asked.small else max(1, min(MOST_EPOCHS, fit))
    wanted = replace(plan(asked, 8 if asked.small else LARGE_BATCH), epochs=epochs, lr=LARGE_LR)
    return _trained(asked, wanted, "large_batches", asked.left_s)


def _expected_rate(asked: Asked) -> float:
    """Images a second at batch 128, by the step's time, else by a careful guess."""
    with suppress(OSError, KeyError, ValueError):
        for check in orjson.loads((asked.work / "speed.json").read_bytes())["checks"]:
            for row in check.get("rows", []):
                if (row["image_px"], row["batch_size"], row["compiled"]) == (320, 128, True):
                    return 0.8 * float(row["images_per_s"])
    return 700.0


def _crops(asked: Asked) -> Path:
    folder = asked.work / "crops"
    if not (folder / "val.arrow").exists():
        raise SkippedError("no crops were drawn")
    return folder


def _trained(asked: Asked, wanted: ClassificationPlan, name: str, seconds: float) -> Facts:
    """Facts of a training that is interrupted, as by Ctrl-C, when its time is over."""
    _crops(asked)
    try:
        return _trained_once(asked, wanted, name, seconds)
    except Exception as error:
        if not wanted.compile:
            raise
        plain = replace(wanted, compile=False)
        facts = _trained_once(asked, plain, f"{name}_eager", seconds)
        return {"compiled_failed": f"{type(error).__name__}: {error}"[:500], **facts}


def _trained_once(asked: Asked, wanted: ClassificationPlan, name: str, seconds: float) -> Facts:
    crops_dir, live_dir = asked.work / "crops", asked.work / "live" / name
    events = live_dir / "events.jsonl"
    image_px = 32 if asked.small else project().at_scale.image_px
    architecture = "test_resnet" if asked.small else STAGE_3
    model = classifier.build(architecture, CLASSES, None, 1)
    begun_s = time.monotonic()
    with (
        suppress(KeyboardInterrupt),
        RunLog(STAGE, live_dir, "INFO") as log,
        WorkFolder(STAGE, name, asked.work / "checkpoints") as work,
        _interrupted_after(seconds, asked.left_s - 8, events),
    ):
        log.follow_gpu(devices.gpu_uuid(asked.device))
        augmenter = Augmenter(image_px, wanted.recipe)
        train(model, wanted, crops_dir, augmenter, work, live_dir / "record", log)
    spent_s = time.monotonic() - begun_s
    counts = {part: len(CropStore(crops_dir / f"{part}.arrow")) for part in ("train", "val")}
    told = [orjson.loads(line) for line in events.read_bytes().splitlines()]
    return {
        "model": architecture, "image_px": image_px, "batch_size": wanted.batch_size,
        "lr": wanted.lr, "epochs": wanted.epochs, "compile": wanted.compile,
        "workers": wanted.num_workers, "precision": str(wanted.dtype),
        "train_crops": counts["train"], "val_crops": counts["val"],
        "seconds": round(spent_s, 1), **_measured(told, wanted, counts),
    }  # fmt: skip


@contextmanager
def _interrupted_after(seconds: float, most_s: float, events: Path) -> Iterator[None]:
    """Within, SIGTERM comes so long after the first step: the training then stops after its step.

    In any case it comes after `most_s`.
    """
    over = threading.Event()

    def watch() -> None:
        begun_s, first_s = time.monotonic(), None
        while not over.wait(0.2):
            now_s = time.monotonic()
            if first_s is None and events.exists() and b'"progress"' in events.read_bytes():
                first_s = now_s
            if now_s - (first_s or now_s) > seconds or now_s - begun_s > most_s:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()


def _measured(told: list[Facts], wanted: ClassificationPlan, counts: dict[str, int]) -> Facts:
    """Rates, use of the GPU and top-1 by the events of a training."""
    ended = [event for event in told if event["kind"] == "epoch"]
    within = [event for event in told if event["kind"] == "progress"]
    facts: Facts = {
        name: [event["metrics"][key] for event in ended]
        for name, key in {
            "top1": "top1", "epoch_seconds": "seconds", "epoch_images_per_s": "images_per_s",
        }.items()
    }  # fmt: skip
    rates = _steady_rates(within, wanted.batch_size)
    if rates:
        rate = statistics.median(rates)
        facts |= {"images_per_s": round(rate, 1), "minutes_of_stage_3": _minutes(rate)}
        whole = facts["epoch_seconds"][1:]  # the first one compiles
        if whole:
            train_s = counts["train"] / rate
            share = max(0.0, statistics.median(whole) - train_s) / train_s
            facts["validation_and_saving_share"] = round(share, 3)
    late = within[len(within) // 3 :]
    use = [event["hardware"]["gpu_util_pct"] for event in late if "gpu_util_pct" in
           event["hardware"]]  # fmt: skip
    if use:
        facts["gpu_util_pct"] = round(statistics.mean(use), 1)
    return facts


def _steady_rates(within: list[Facts], size: int) -> list[float]:
    """Images a second between one telling and the next, about a second later."""
    same = [(one, two) for one, two in pairwise(within) if one["epoch"] == two["epoch"]]
    rates = [(two["step"] - one["step"]) * size / (two["time"] - one["time"]) for one, two in same
             if two["time"] > one["time"]]  # fmt: skip
    return rates[2:] or rates  # the first ones are of a loader that fills


def _minutes(rate: float) -> float:
    return round(EPOCHS * SAMPLES / rate / 60, 2)


def predicted(asked: Asked, record: Record) -> Facts:
    """Minutes of 18 epochs' training steps here and, scaled from the GPU's time, elsewhere."""
    asked.needs_gpu()
    name = devices.describe(asked.device)
    bandwidth = next((gb for card, gb in BANDWIDTH_GB.items() if card in name), 3350.0)
    by_compute = RTX_5080_TFLOPS / PEAK_TFLOPS
    by_memory = RTX_5080_GB / bandwidth
    for check in orjson.loads((asked.work / "speed.json").read_bytes())["checks"]:
        for row in check.get("rows", []):
            if row.get("model") != STAGE_3 or "gpu_ms" not in row:
                continue
            alone = row["batch_size"] / row["gpu_ms"] * 1000
            scaled = sorted((alone * by_compute, alone * by_memory))
            record.row(
                image_px=row["image_px"], batch_size=row["batch_size"], compiled=row["compiled"],
                here_min=_minutes(row["images_per_s"]),
                rtx_5080_min=[_minutes(min(rate, row["images_per_s"])) for rate in scaled[::-1]],
            )  # fmt: skip
    return {
        "how": f"RTX 5080: the GPU's own time, times {1 / by_compute:.2f} (dense bf16, 225 of 989 "
        f"TFLOP/s) or {1 / by_memory:.2f} (memory, 960 of {bandwidth:.0f} GB/s); never faster "
        "than measured here. Training steps alone, without validation."
    }


STAGE3 = (as_configured, large_batches, predicted)
