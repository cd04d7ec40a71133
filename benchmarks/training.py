"""Times the classifier's training against others on one drawn set: input, whole loop, accuracy.

    python benchmarks/training.py --crops 1200 --seconds 10 --rounds 5 --budget 60

All runs take turns on the same crops; printed are medians. Input is counted per CPU-second of one
process, so it bears a busy machine; the loop is wall time, so look at the load printed with it.
"""

import argparse
import dataclasses
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import peers
import torch
from drawn_set import DrawnSet, draw

from pillsnap import params
from pillsnap.classification import classifier, train
from pillsnap.classification.augment import Augmenter
from pillsnap.classification.batches import Batch, CropDataset, EpochBatches, loader
from pillsnap.classification.train import ClassificationPlan, Trainer
from pillsnap.stage.log import RunLog
from pillsnap.training import devices
from pillsnap.training.checkpoints import WorkFolder

ROOT = Path(__file__).parents[1]
INPUT_CASES = ((320, 384), (224, 256), (160, 256), (160, 192))  # px of the input, of the crop
WARM_UP_STEPS = 6

Step = Callable[[], int]  # does one unit of work, gives the pictures in it
Figures = dict[str, list[float]]


def take_turns(jobs: dict[str, Step], seconds: float, rounds: int, clock: Any) -> Figures:
    """Pictures per second of `clock` for every job, once a round."""
    figures: Figures = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, step in jobs.items():
            for _ in range(WARM_UP_STEPS):
                step()
            pictures, begun_s, begun = 0, time.perf_counter(), clock()
            while time.perf_counter() - begun_s < seconds:
                pictures += step()
            figures[name].append(pictures / (clock() - begun))
    return figures


def our_loader(
    drawn: DrawnSet, crop_px: int, image_px: int, plan: ClassificationPlan
) -> Iterator[Batch]:
    """Batches as the training draws them, epoch after epoch."""
    dataset = CropDataset(
        drawn.stores_dir(crop_px) / "train.arrow", image_px, Augmenter(image_px, plan.recipe), 1
    )
    batches = EpochBatches(len(dataset), plan.batch_size, 1, True, plan.repeats)
    batched = loader(dataset, batches, plan.num_workers, False)
    while True:
        yield from batched
        batches.epoch += 1


def input_jobs(drawn: DrawnSet, plan: ClassificationPlan) -> dict[str, Step]:
    """The loaders without workers: all their work is this process's CPU time."""
    png = peers.endless(peers.png_loader(drawn.frames_dir, 4))
    jobs: dict[str, Step] = {"PNG, PIL, 384 px": lambda: len(next(png)[1])}
    for image_px, crop_px in INPUT_CASES:
        case = f"{image_px} px from {crop_px} px"
        ours = our_loader(drawn, crop_px, image_px, dataclasses.replace(plan, num_workers=0))
        files = drawn.files_dir(crop_px) / "train"
        theirs = peers.endless(peers.ultralytics_loader(files, image_px, plan.batch_size, True, 0))
        folder = peers.endless(peers.folder_loader(files, image_px, plan, True, 0))
        normalise = classifier.Normaliser(*peers.IMAGENET)

        def normalised(ours: Any = ours, normalise: Any = normalise) -> int:
            return len(normalise(next(ours).pictures))

        jobs[f"{case}: PillSnap"] = lambda ours=ours: len(next(ours).classes)  # type: ignore[misc]
        jobs[f"{case}: PillSnap, normalised on the CPU"] = normalised
        jobs[f"{case}: Ultralytics"] = lambda them=theirs: len(next(them)["cls"])  # type: ignore[misc]
        jobs[f"{case}: torchvision"] = lambda them=folder: len(next(them)[1])  # type: ignore[misc]
    return jobs


def loop_jobs(
    drawn: DrawnSet, plan: ClassificationPlan, model: str, sizes: tuple[int, int]
) -> dict[str, Step]:
    """Optimizer steps: on tensors at hand, our whole loop, the plain ImageFolder loop."""
    crop_px, image_px = sizes
    batches = our_loader(drawn, crop_px, image_px, plan)
    cached = [next(batches) for _ in range(8)]
    with RunLog("train_classification", drawn.root / "live", "ERROR") as log:
        pure, whole = (
            Trainer(classifier.build(model, drawn.classes, None, 1), plan, 10**6, log)
            for _ in range(2)
        )
    folder = drawn.files_dir(crop_px) / "train"
    plain = peers.PlainLoop(model, drawn.classes, plan, 10**6)
    files = peers.endless(peers.folder_loader(folder, image_px, plan, True, plan.num_workers))

    def on_cached() -> int:
        pure.train_step(cached[pure.step % len(cached)])
        return plan.batch_size

    def on_loaded() -> int:
        batch = next(batches)
        whole.train_step(batch)
        return len(batch.classes)

    def on_files() -> int:
        batch = next(files)
        plain.step(batch)
        return len(batch[1])

    return {"model step alone": on_cached, "PillSnap": on_loaded, "torchvision": on_files}


def ultralytics_rate(
    drawn: DrawnSet, plan: ClassificationPlan, model: str, sizes: tuple[int, int]
) -> float:
    """Pictures a second in the later epochs of Ultralytics' training."""
    folder = drawn.files_dir(sizes[0])
    with tempfile.TemporaryDirectory() as save_dir:
        run = peers.UltralyticsRun(
            model, folder, sizes[1], dataclasses.replace(plan, epochs=4), Path(save_dir)
        )
        run.train()
    return len(run.train_loader.dataset) / statistics.median(run.epoch_seconds[1:])


def our_accuracy(
    drawn: DrawnSet, plan: ClassificationPlan, model: str, sizes: tuple[int, int]
) -> float:
    """Top-1 on val of a whole training: of the last epoch, as the others are measured."""
    net = classifier.build(model, drawn.classes, None, plan.seed)
    augmenter = Augmenter(sizes[1], plan.recipe)
    with (
        tempfile.TemporaryDirectory() as folder,
        RunLog("train_classification", Path(folder), "ERROR") as log,
        WorkFolder("c", "f", Path(folder)) as work,
    ):
        live_dir = Path(folder) / "live"
        train.train(net, plan, drawn.stores_dir(sizes[0]), augmenter, work, live_dir, log)
        state, _ = work.load()
    assert state is not None
    return float(state["history"][-1]["metrics"]["top1"])


def plain_accuracy(
    drawn: DrawnSet, plan: ClassificationPlan, model: str, sizes: tuple[int, int]
) -> float:
    """Top-1 on val after the plain loop."""
    folder, workers = drawn.files_dir(sizes[0]), plan.num_workers
    batches = peers.folder_loader(folder / "train", sizes[1], plan, True, workers)
    loop = peers.PlainLoop(model, drawn.classes, plan, plan.epochs * len(batches))
    for _ in range(plan.epochs):
        for batch in batches:
            loop.step(batch)
    held = peers.folder_loader(folder / "val", sizes[1], plan, False, 0)
    return peers.top1(loop.model, iter(held))


def ultralytics_accuracy(
    drawn: DrawnSet, plan: ClassificationPlan, model: str, sizes: tuple[int, int]
) -> float:
    """Top-1 on val of Ultralytics' averaged weights."""
    folder = drawn.files_dir(sizes[0])
    with tempfile.TemporaryDirectory() as save_dir:
        run = peers.UltralyticsRun(model, folder, sizes[1], plan, Path(save_dir))
        run.train()
    held = peers.ultralytics_loader(folder / "val", sizes[1], plan.batch_size, False, 0)
    return peers.top1(run.ema.ema.model, ((batch["img"], batch["cls"]) for batch in held))


def report_input(drawn: DrawnSet, plan: ClassificationPlan, asked: argparse.Namespace) -> None:
    """Print table (a)."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    figures = take_turns(input_jobs(drawn, plan), asked.seconds, asked.rounds, time.process_time)
    rates = {name: statistics.median(values) for name, values in figures.items()}
    first = next(iter(rates.values()))
    print("\n(a) input, samples per CPU-second\n\n| loader | samples/s | times the first |")
    print("|---|---|---|")
    for name, rate in rates.items():
        print(f"| {name} | {rate:.0f} | {rate / first:.1f} |")


def report_loop(
    drawn: DrawnSet, plan: ClassificationPlan, asked: argparse.Namespace
) -> dict[str, float]:
    """Print table (b); the rates of the first pair of threads and workers."""
    sizes = (asked.crop_px, asked.image_px)
    first: dict[str, float] = {}
    print(f"\n(b) whole loop, images/s, {asked.model} at {asked.image_px} px\n")
    print("| torch threads x loader workers | model step alone | PillSnap (of it) "
          "| torchvision loop | Ultralytics |\n|---|---|---|---|---|")  # fmt: skip
    for pair in asked.pairs:
        threads, workers = (int(part) for part in pair.split("x"))
        torch.set_num_threads(threads)
        pair_plan = dataclasses.replace(plan, num_workers=workers)
        figures = take_turns(
            loop_jobs(drawn, pair_plan, asked.model, sizes),
            asked.seconds, asked.rounds, time.perf_counter,
        )  # fmt: skip
        rates = {name: statistics.median(values) for name, values in figures.items()}
        share = statistics.median(
            whole / pure
            for whole, pure in zip(figures["PillSnap"], figures["model step alone"], strict=True)
        )
        turns = range(max(1, asked.rounds // 2))
        rates["Ultralytics"] = statistics.median(
            ultralytics_rate(drawn, pair_plan, asked.model, sizes) for _ in turns
        )
        print(f"| {threads} x {workers} | {rates['model step alone']:.0f} "
              f"| {rates['PillSnap']:.0f} ({share:.2f}) | {rates['torchvision']:.0f} "
              f"| {rates['Ultralytics']:.0f} |", flush=True)  # fmt: skip
        first = first or rates
    return first


def report_accuracy(
    drawn: DrawnSet, plan: ClassificationPlan, rates: dict[str, float], asked: argparse.Namespace
) -> None:
    """Print table (c): each gets the epochs that its own rate allows in the budget."""
    threads, workers = (int(part) for part in asked.pairs[0].split("x"))
    torch.set_num_threads(threads)
    runs = {"PillSnap": our_accuracy, "torchvision": plain_accuracy,
            "Ultralytics": ultralytics_accuracy}  # fmt: skip
    crops = len(CropDataset(drawn.stores_dir(asked.crop_px) / "train.arrow", 32, None, 0))
    print(f"\n(c) top-1 on val after {asked.budget:.0f} s of training steps, {crops} train crops")
    print("\n| training | epochs | s in all | top-1 |\n|---|---|---|---|")
    for name, run in runs.items():
        epochs = max(1, round(rates[name] * asked.budget / crops))
        whole = dataclasses.replace(plan, epochs=epochs, num_workers=workers, repeats=1)
        begun_s = time.perf_counter()
        share = run(drawn, whole, asked.model, (asked.crop_px, asked.image_px))
        seconds = time.perf_counter() - begun_s
        print(f"| {name} | {epochs} | {seconds:.0f} | {share:.3f} |", flush=True)


def machine() -> str:
    """What the figures were measured on, and how busy it was."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0))
    load = ", ".join(f"{part:.2f}" for part in os.getloadavg())
    name = names[0] if names else platform.processor()
    return f"{name}, {cores} cores, torch {torch.__version__}, load {load}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--crops", type=int, default=1200)
    parser.add_argument("--classes", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", type=float, default=60.0, help="s of training in (c)")
    parser.add_argument("--pairs", nargs="+", default=["1x1", "1x2", "2x0", "2x1"])
    parser.add_argument("--parts", default="abc")
    parser.add_argument("--model", default="test_resnet")
    parser.add_argument("--crop-px", type=int, default=128)
    parser.add_argument("--image-px", type=int, default=96)
    parser.add_argument("--frame-px", type=int, nargs=2, default=(976, 1280))
    asked = parser.parse_args()
    device = torch.device("cpu")
    plan = ClassificationPlan(
        epochs=1, repeats=4, batch_size=32, lr=3e-3,
        recipe=params.load(ROOT / "params.yaml").train_classification, seed=1, device=device,
        dtype=devices.autocast_dtype(device, "auto"), compile=False, num_workers=0, goals={},
    )  # fmt: skip
    sizes = tuple(sorted({asked.crop_px, *(crop_px for _, crop_px in INPUT_CASES)}))
    with tempfile.TemporaryDirectory() as folder:
        drawn = draw(Path(folder), asked.crops, asked.classes, sizes, tuple(asked.frame_px))
        print(f"{machine()}; {asked.crops} crops, {asked.rounds} rounds of {asked.seconds:g} s")
        if "a" in asked.parts:
            report_input(drawn, plan, asked)
        rates = report_loop(drawn, plan, asked) if set("bc") & set(asked.parts) else {}
        if "c" in asked.parts:
            report_accuracy(drawn, plan, rates, asked)
        print(f"\nload at the end {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
