"""How fast the trainings are on this device, and where a step's time goes. Part of gpu_check.py."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_sections import (
    Asked,
    Facts,
    Record,
    SkippedError,
    free,
    made_batch,
    plan,
    project,
    sync,
)
from rehearsal import flops_of_crop
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pillsnap.classification import batch_size, classifier
from pillsnap.classification.augment import Augmenter
from pillsnap.classification.batches import Batch, CropDataset, EpochBatches, loader
from pillsnap.classification.train import Trainer
from pillsnap.dataset import pixels
from pillsnap.dataset.names import View
from pillsnap.demo.photos import draw_frame, lay_out
from pillsnap.demo.pills import invent_pills
from pillsnap.detection import plan as detection_plan
from pillsnap.detection import train as detection_train
from pillsnap.params import load
from pillsnap.stage.log import RunLog
from pillsnap.training import devices
from pillsnap.training.checkpoints import WorkFolder
from pillsnap.validation.detection_set import DetectionWriter

# isort: split
from ultralytics.cfg import get_cfg  # after pillsnap.detection, which sets its switches
from ultralytics.nn.tasks import DetectionModel

PARAMS = Path(__file__).parents[1] / "params.yaml"
PEAK_TFLOPS = 989.0  # dense bf16 of an H100 or H200 by its data sheet
STAGE_3 = "tf_efficientnetv2_s.in21k_ft_in1k"
VIT, CONVNEXT = "vit_small_patch16_224", "convnext_tiny"
CLASSES = 1000
WARM_UP_STEPS = 5
STEP_S = 3.0  # that a measurement goes on for
DRAWN_FRAMES = 96  # the others are the same ones again
SLEEP_CYCLES = 400_000_000  # some 0.2 s, in which the host gets ahead of the GPU


@dataclass(frozen=True)
class Case:
    """A training step to be timed."""

    model: str
    image_px: int
    batch_size: int
    compiled: bool


FIRST = (  # worth most to know, in this order
    Case(STAGE_3, 320, 128, True), Case(STAGE_3, 320, 32, True), Case(STAGE_3, 224, 32, True),
    Case(STAGE_3, 224, 128, True), Case(STAGE_3, 320, 32, False),
)  # fmt: skip
MORE = (
    Case(VIT, 224, 256, True), Case(STAGE_3, 384, 128, True), Case(STAGE_3, 320, 256, True),
    Case(STAGE_3, 224, 32, False), Case(CONVNEXT, 224, 256, True), Case(STAGE_3, 224, 256, True),
    Case(STAGE_3, 320, 256, False), Case(STAGE_3, 384, 32, True), Case(STAGE_3, 224, 256, False),
    Case(STAGE_3, 384, 256, True), Case(STAGE_3, 384, 32, False), Case(STAGE_3, 384, 256, False),
)  # fmt: skip
SMALL = (Case("test_resnet", 32, 8, False), Case("test_resnet", 64, 8, False))


def cases(asked: Asked, wanted: tuple[Case, ...]) -> tuple[Case, ...]:
    """Those, or the small ones."""
    return SMALL if asked.small else wanted


def step_s(asked: Asked) -> float:
    """Seconds of a measurement."""
    return 0.3 if asked.small else STEP_S


def ceilings(asked: Asked, _record: Record) -> Facts:
    """What this card does at best: a large bf16 matrix product, a large copy."""
    asked.needs_gpu()
    side = 8192
    a, b = (torch.randn(side, side, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    product_s = _events_s(lambda: torch.matmul(a, b), 20)
    source = torch.randint(0, 255, (2**32,), device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    copy_s = _events_s(lambda: target.copy_(source), 10)
    return {
        "matmul_bf16_tflops": round(2 * side**3 / product_s / 1e12, 1),
        "copy_gb_per_s": round(2 * 2**32 / copy_s / 1e9, 1),
    }


def _events_s(work: Callable[[], object], times: int) -> float:
    """Seconds of one call on the GPU."""
    for _ in range(3):
        work()
    begun, ended = _events()
    begun.record()
    for _ in range(times):
        work()
    ended.record()
    torch.cuda.synchronize()
    return float(begun.elapsed_time(ended)) / 1000 / times


def _events() -> tuple[Any, Any]:
    event: Any = torch.cuda.Event
    return event(enable_timing=True), event(enable_timing=True)


def training_steps(asked: Asked, record: Record) -> Facts:
    """The cases worth most."""
    return _time_cases(asked, record, cases(asked, FIRST))


def more_training_steps(asked: Asked, record: Record) -> Facts:
    """The other cases, while time is left."""
    return _time_cases(asked, record, cases(asked, MORE))


def _time_cases(asked: Asked, record: Record, wanted: tuple[Case, ...]) -> Facts:
    left_out = []
    for number, case in enumerate(wanted):
        if asked.left_s < (2 if asked.small else 30 if case.compiled else 12):
            left_out.append(f"{case.model} {case.image_px} px x {case.batch_size}")
            continue
        for tried in (case, replace(case, compiled=False)):
            try:
                record.row(**_timed(asked, tried, number == 0))
                break
            except Exception as error:  # where it does not compile: the same without
                record.row(**vars(tried), failed=f"{type(error).__name__}: {error}"[:1000])
            finally:
                free(asked.device)
            if not case.compiled:
                break
    return {"left_out": left_out} if left_out else {}


def _timed(asked: Asked, case: Case, with_benchmark: bool) -> Facts:
    """A row: the first step, the steady rate, and the rate where cuDNN tries its algorithms."""
    begun_s = time.perf_counter()
    trainer = made_trainer(asked, case)
    data = [made_batch(asked, case.batch_size, case.image_px, CLASSES, i) for i in range(3)]
    if asked.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    built_s = time.perf_counter()
    trainer.train_step(data[0])
    sync(asked.device)
    first_s = time.perf_counter() - built_s
    ms = 1000 * seconds_a_step(asked, lambda i: trainer.train_step(data[i % 3]))
    row: Facts = {**vars(case), **_rates(asked, case, ms)}
    row |= {"first_step_s": round(first_s, 1), "building_s": round(built_s - begun_s, 1)}
    if asked.device.type == "cuda":
        row["gpu_ms"] = round(gpu_ms(lambda: trainer.train_step(data[0])), 2)
        row["peak_gb"] = round(torch.cuda.max_memory_reserved() / 1e9, 1)
        row["parts"] = trainer.micro_batches
        if with_benchmark:
            torch.backends.cudnn.benchmark = True
            faster_ms = 1000 * seconds_a_step(asked, lambda i: trainer.train_step(data[i % 3]))
            torch.backends.cudnn.benchmark = False
            row["images_per_s_cudnn_benchmark"] = round(1000 * case.batch_size / faster_ms)
    return row


def made_trainer(asked: Asked, case: Case) -> Trainer:
    """The project's trainer with a model from scratch."""
    switch = "on" if case.compiled else "off"
    with RunLog("gpu_check", asked.work / "live", "WARNING") as log:
        model = classifier.build(case.model, CLASSES, None, 1)
        return Trainer(model, plan(asked, case.batch_size, compile=switch), 10**6, log)


def seconds_a_step(asked: Asked, step: Callable[[int], object]) -> float:
    """Seconds of a step, the wait for the last one shared out."""
    for i in range(WARM_UP_STEPS):
        step(i)
    sync(asked.device)
    done, begun_s = 0, time.perf_counter()
    while time.perf_counter() - begun_s < step_s(asked):
        step(done)
        done += 1
    sync(asked.device)
    return (time.perf_counter() - begun_s) / done


def gpu_ms(work: Callable[[], object]) -> float:
    """Milliseconds of the GPU alone: the host queues the work while the GPU sleeps."""
    times = []
    sleep: Any = torch.cuda._sleep
    for _ in range(3):
        begun, ended = _events()
        sleep(SLEEP_CYCLES)
        begun.record()
        work()
        ended.record()
        torch.cuda.synchronize()
        times.append(float(begun.elapsed_time(ended)))
    return statistics.median(times)


def _rates(asked: Asked, case: Case, ms: float) -> Facts:
    tflops = case.batch_size / ms * 1000 * flops_of_crop(case.model, CLASSES, case.image_px) / 1e12
    share = {"share_of_peak": round(tflops / PEAK_TFLOPS, 4)} if asked.device.type == "cuda" else {}
    rate = round(case.batch_size / ms * 1000, 1)
    return {"ms": round(ms, 2), "images_per_s": rate, "tflops": round(tflops, 3), **share}


def compile_ahead(asked: Asked, record: Record, turn: int, of: int) -> Facts:
    """Compile for the cases to come, so that they find their graphs on the disk."""
    asked.needs_gpu()
    wanted = [case for case in (*FIRST, *MORE[:6]) if case.compiled][turn::of]
    for case in wanted:
        begun_s = time.perf_counter()
        trainer = made_trainer(asked, case)
        trainer.train_step(made_batch(asked, case.batch_size, case.image_px, CLASSES, 1))
        sync(asked.device)
        record.row(**vars(case), first_step_s=round(time.perf_counter() - begun_s, 1))
        del trainer
        free(asked.device)
    return {}


def compile_ahead_odd(asked: Asked, record: Record) -> Facts:
    """One half of the cases."""
    return compile_ahead(asked, record, 0, 2)


def compile_ahead_even(asked: Asked, record: Record) -> Facts:
    """The other half."""
    return compile_ahead(asked, record, 1, 2)


def host_time_of_a_step(asked: Asked, _record: Record) -> Facts:
    """Milliseconds for which each part of a step holds the host, the GPU being idle before it."""
    compiled = devices.compiles(asked.device, "auto")
    case = SMALL[0] if asked.small else Case(STAGE_3, 224, 32, compiled)
    asked.needs_s(2 if asked.small else 20)
    trainer, data = made_trainer(asked, case), made_batch(asked, case.batch_size, case.image_px,
                                                          CLASSES, 1)  # fmt: skip
    pieces: dict[str, Callable[[], object]] = {
        "forward and backward": lambda: trainer.gradients(data, case.batch_size),
        "clip, optimizer, guard": trainer.safe_step,
        "average": lambda: trainer.average.update(100),
    }
    times: dict[str, list[float]] = {name: [] for name in pieces}
    for turn in range(5 if asked.small else 30):
        for name, piece in pieces.items():
            sync(asked.device)
            begun_s = time.perf_counter()
            piece()
            if turn > 2:
                times[name].append(1000 * (time.perf_counter() - begun_s))
    facts: Facts = {name: round(statistics.median(values), 3) for name, values in times.items()}
    facts["all parts"] = round(sum(facts.values()), 2)
    if asked.device.type == "cuda":
        facts["whole step, GPU alone"] = round(gpu_ms(lambda: trainer.train_step(data)), 2)
    return {"compiled": case.compiled, **facts}


def checkpoint_stall(asked: Asked, _record: Record) -> Facts:
    """How long the training waits until its state is copied, and until it is on disk."""
    case = SMALL[0] if asked.small else Case(STAGE_3, 224, 32, False)
    trainer = made_trainer(asked, case)
    trainer.train_step(made_batch(asked, case.batch_size, case.image_px, CLASSES, 1))
    weights = {k: v.cpu().clone() for k, v in trainer.average.module.state_dict().items()}
    seconds, written = [], []
    with WorkFolder("gpu_check", "stall", asked.work / "stall") as folder:
        for _ in range(3):
            sync(asked.device)
            begun_s = time.perf_counter()
            folder.save({**trainer.state(), "best": {"epoch": 1, "weights": weights}})
            seconds.append(time.perf_counter() - begun_s)
            folder.flush()
            written.append(time.perf_counter() - begun_s)
        megabytes = (folder.path / "newest.ckpt").stat().st_size / 1e6
        folder.remove()
    return {
        "seconds": round(statistics.median(seconds), 3),
        "until_written_s": round(statistics.median(written), 3),
        "megabytes": round(megabytes, 1),
    }


def automatic_batch_size(asked: Asked, _record: Record) -> Facts:
    """What train.batch_size: auto chooses for stage 3's model."""
    asked.needs_gpu()
    asked.needs_s(15)
    wanted = project(batch_size="auto")
    folder = asked.work / "batch_size"
    folder.mkdir(exist_ok=True)
    begun_s = time.perf_counter()
    with RunLog("gpu_check", asked.work / "live", "WARNING") as log:
        model = classifier.build(STAGE_3, CLASSES, None, 1)
        chosen = batch_size.settle(wanted, model, plan(asked, 32, compile="off"), folder, log)
    return {"chosen": chosen, "most": wanted.train.batch_size_most,
            "seconds": round(time.perf_counter() - begun_s, 1)}  # fmt: skip


def input_pipeline(asked: Asked, record: Record) -> Facts:
    """Crops a second of the training's loader, from stored crops, by workers and picture size."""
    path = asked.work / "crops" / "train.arrow"
    if not path.exists():
        raise SkippedError("no crops were drawn")
    sizes = (32, 48) if asked.small else (320, 224, 384)
    for workers in (1,) if asked.small else (8, 12, 4):
        if asked.left_s < 20 and not asked.small:
            return {"left_out": f"from {workers} workers on"}
        started = {px: _batches(path, px, workers, asked.device) for px in sizes}
        for batches in started.values():  # all start together, then wait
            next(batches)
        for px, batches in started.items():
            for _ in range(5 * workers):  # what was made while they waited
                next(batches)
            count, begun_s = 0, time.perf_counter()
            while time.perf_counter() - begun_s < (0.3 if asked.small else 2.5):
                count += len(next(batches).classes)
            rate = count / (time.perf_counter() - begun_s)
            record.row(workers=workers, image_px=px, crops_per_s=round(rate))
        del started, batches  # their processes end
    return {}


def _batches(path: Path, px: int, workers: int, device: torch.device) -> Iterator[Batch]:
    dataset = CropDataset(path, px, Augmenter(px, project().train_classification), 1)
    size = min(32, len(dataset) // 4)
    order = EpochBatches(len(dataset), size, 1, True, repeats=1 + 2_000_000 // len(dataset))
    return iter(loader(dataset, order, workers, device.type == "cuda"))


def detector_step(asked: Asked, record: Record) -> Facts:
    """A training step of the detector on a batch at hand, as Ultralytics does it on a GPU."""
    model_name, px, sizes = ("yolo11n", 64, (2,)) if asked.small else ("yolo11s", 640, (16, 32))
    model: Any = DetectionModel(f"{model_name}.yaml", nc=1, verbose=False)
    with FlopCounterMode(display=False) as counter:
        model.eval()(torch.zeros(1, 3, px, px))
    flops = 3.0 * counter.get_total_flops()
    model.args = get_cfg()
    model = model.train().to(asked.device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for size in sizes:
        batch = _made_frames(size, px, asked.device)

        def step(_i: int, batch: dict[str, torch.Tensor] = batch) -> None:
            on_gpu = asked.device.type == "cuda"
            with torch.autocast(asked.device.type, torch.bfloat16, enabled=on_gpu):
                loss = model(batch)[0].sum()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            optimizer.zero_grad()

        seconds = seconds_a_step(asked, step)
        tflops = size / seconds * flops / 1e12
        record.row(model=model_name, image_px=px, batch_size=size, ms=round(1000 * seconds, 2),
                   frames_per_s=round(size / seconds, 1), tflops=round(tflops, 3))  # fmt: skip
    return {}


def _made_frames(count: int, px: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Frames of noise with four boxes each."""
    corners = torch.tensor([[0.3, 0.3], [0.7, 0.3], [0.3, 0.7], [0.7, 0.7]])
    boxes = torch.cat([corners, torch.full((4, 2), 0.3)], dim=1).repeat(count, 1)
    batch = {
        "img": torch.rand(count, 3, px, px),
        "cls": torch.zeros(4 * count, 1),
        "bboxes": boxes,
        "batch_idx": torch.arange(count).repeat_interleave(4).float(),
    }
    return {name: value.to(device) for name, value in batch.items()}


def detector_training(asked: Asked, record: Record) -> Facts:
    """Whole epochs of the detector's training as it is configured, loader and validation in."""
    name, px, frames, sizes = ("yolo11n", 64, 12, (4,)) if asked.small else (
        "yolo11s", 640, 1536, (16, 32))  # fmt: skip
    data_dir = asked.work / "detection"
    _draw_frames(data_dir, frames, px)
    for size in sizes:
        if not asked.small:
            asked.needs_s(15)
        wanted = _detector_plan(asked, name, px, size)
        live_dir = asked.work / "live" / f"detection_{size}"
        with (
            RunLog("gpu_check", asked.work / "live", "WARNING") as log,
            WorkFolder("detection", f"batch_{size}", asked.work / "checkpoints") as folder,
        ):
            begun_s = time.perf_counter()
            detection_train.train(wanted, data_dir, folder, live_dir, log)
            spent_s = time.perf_counter() - begun_s
            state, _ = folder.load()
        assert state is not None
        late = [epoch["metrics"]["images_per_s"] for epoch in state["history"][1:]]
        record.row(model=name, image_px=px, batch_size=size, frames=frames, seconds=spent_s,
                   epochs=wanted.epochs, frames_per_s=statistics.median(late))  # fmt: skip
    return {}


def _detector_plan(asked: Asked, name: str, px: int, size: int) -> detection_plan.DetectionPlan:
    wanted, whole = project(), plan(asked, 32)
    return detection_plan.DetectionPlan(
        architecture=name, weights=None, image_px=px, epochs=2 if asked.small else 4,
        batch_size=size, lr=wanted.detection_lr, recipe=wanted.train_detection, seed=1,
        device=asked.device, dtype=torch.bfloat16 if asked.device.type == "cuda" else None,
        num_workers=whole.num_workers, goals={},
    )  # fmt: skip


def _draw_frames(folder: Path, count: int, longest_px: int) -> None:
    """A YOLO data set of `count` combinations, an eighth more for val; only so many are drawn."""
    size = (longest_px * 3 // 4, longest_px)
    demo = load(PARAMS).demo.model_copy(
        update={"frame_width_px": size[0], "frame_height_px": size[1], "noise": 0.8}
    )
    pills, writer = invent_pills(40, 1), DetectionWriter(folder)
    drawn = []
    for number in range(min(count, DRAWN_FRAMES)):
        rng = np.random.default_rng((1, number))
        chosen = [pills[i] for i in rng.choice(len(pills), 4, replace=False)]
        view = View(0, 2, 0, 2, 75, 0, 200)
        drawn.append(draw_frame(lay_out(chosen, demo, rng), view, demo, rng))
    jpegs = [pixels.encode(photo, 95) for photo, _ in drawn]
    for number in range(count + max(2, count // 8)):
        same = number % len(drawn)
        boxes = np.array(drawn[same][1])
        split = "train" if number < count else "val"
        writer.add(split, f"{number}.png", jpegs[same], boxes, size)
    writer.finish()


SPEED = (ceilings, automatic_batch_size, checkpoint_stall, training_steps, host_time_of_a_step)
MORE_SPEED = (more_training_steps,)
DETECTOR_AND_INPUT = (detector_training, detector_step, input_pipeline)
AHEAD_ODD, AHEAD_EVEN = (compile_ahead_odd,), (compile_ahead_even,)
