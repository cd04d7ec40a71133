"""Every way through the code that only a GPU takes, once, at small sizes. Part of gpu_check.py."""

import copy
import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import chdir
from dataclasses import dataclass, replace
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
import yaml
from gpu_sections import (
    REASON_CHARS,
    Asked,
    Facts,
    Record,
    SkippedError,
    made_batch,
    plan,
    project,
)
from kills import SCALE, Project
from rehearsal import environment, stage_command

from pillsnap import files
from pillsnap.classification import classifier
from pillsnap.classification.batches import Batch
from pillsnap.classification.train import Trainer
from pillsnap.dataset.crops import CropStore
from pillsnap.dataset.frames import FrameStore
from pillsnap.detection.letterbox import Letterbox
from pillsnap.operation import check_gpu
from pillsnap.params import load
from pillsnap.places import Places
from pillsnap.prediction import load as loading
from pillsnap.prediction.predict import predict
from pillsnap.release.export import export
from pillsnap.release.graphs import DetectionGraph
from pillsnap.stage.hardware import GpuReader, cpu_count
from pillsnap.stage.log import RunLog
from pillsnap.training import devices
from pillsnap.training.checkpoints import load_published

PACKAGES = ("torch", "torchvision", "triton", "timm", "ultralytics", "numpy", "pandas", "pyarrow",
            "onnx", "onnxruntime", "opencv-python", "opencv-python-headless")  # fmt: skip
MODEL, CLASSES = "test_efficientnet", 10
PRECISIONS = {"bf16": "bf16", "fp16": "fp16", "float32": "off"}
MOST_DIFFERENCE = 0.15  # of a step's loss, some 2.3, after up to five steps
KILLED_AFTER = 2  # epochs
GPU_FIGURES = {"gpu_name", "gpu_memory_used_mb", "gpu_memory_total_mb", "gpu_util_pct",
               "gpu_temperature_c", "gpu_power_w"}  # fmt: skip


def machine(asked: Asked, _record: Record) -> Facts:
    """What the figures are measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    shm = shutil.disk_usage("/dev/shm") if Path("/dev/shm").exists() else None
    facts: Facts = {
        "cpu": names[0] if names else platform.processor(),
        "cores": cpu_count(),
        "ram_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "shm_gb": round(shm.total / 1e9, 1) if shm else None,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "device": devices.describe(asked.device),
        **{name: found for name in PACKAGES if (found := _version(name))},
    }
    if asked.device.type == "cuda":
        card, cudnn = torch.cuda.get_device_properties(asked.device), torch.backends.cudnn
        seen = check_gpu.look(None)
        facts |= {
            "cuda": torch.version.cuda,
            "driver": None if isinstance(seen, str) else seen.driver,
            "cudnn": cudnn.version(),  # type: ignore[no-untyped-call]
            "gpu_gib": round(card.total_memory / 2**30, 1),
            "multiprocessors": card.multi_processor_count,
            "compiles_by_auto": devices.compiles(asked.device, "auto"),
        }
    return facts


def _version(package: str) -> str | None:
    found = next(iter(distributions(name=package)), None)
    return None if found is None else str(found.metadata["Version"])


def nvml_readings(asked: Asked, _record: Record) -> Facts:
    """By the module that the monitor's figures come from; every figure must be there."""
    asked.needs_gpu()
    sample = GpuReader(devices.gpu_uuid(asked.device)).read()
    assert set(sample) == GPU_FIGURES, f"not all figures: {sample}"
    return dict(sample)


def preflight(asked: Asked, record: Record) -> Facts:
    """The checklist's points about the GPU."""
    asked.needs_gpu()
    points = check_gpu.check(project(), Path())
    for point in points:
        record.row(point=point.name, status=point.status, value=point.value)
    assert all(point.status != "fail" for point in points) and len(points) == 3, points
    return {}


def precisions(asked: Asked, record: Record) -> Facts:
    """Five steps in every precision, eager and compiled, against float32 on the CPU."""
    asked.needs_gpu()
    reference = _losses(replace(asked, device=torch.device("cpu")), "off", "off")
    wrong = []
    for name, switch in (("bf16", "off"), ("fp16", "off"), ("float32", "off"), ("bf16", "auto")):
        row: Facts = {"precision": name, "compile": switch}
        try:
            losses = _losses(asked, PRECISIONS[name], switch)
            row["largest_difference_from_cpu"] = float(np.abs(np.subtract(losses, reference)).max())
            row |= {"first_loss": losses[0], "last_loss": losses[-1]}
        except Exception as error:  # the other precisions may still do
            row["failed"] = f"{type(error).__name__}: {error}"[-1500:]
        record.row(**row)
        if row.get("largest_difference_from_cpu", np.inf) > MOST_DIFFERENCE:
            wrong.append(f"{name}, compile {switch}")
    assert not wrong, f"fail, or are far from the CPU: {wrong}"
    return {"reference": reference}


def _losses(asked: Asked, mixed: str, switch: str) -> list[float]:
    """The loss of five steps on one batch; the model must stay in channels_last order."""
    wanted = plan(asked, 32, mixed_precision=mixed, compile=switch)
    model = classifier.build(MODEL, CLASSES, None, 1)
    batch = made_batch(asked, 32, 64, CLASSES, 1)
    losses: list[float] = []
    with RunLog("gpu_check", asked.work / "live", "WARNING") as log:
        trainer = Trainer(model, wanted, 100, log)
        for _ in range(5):
            before = float(trainer.loss_sum)
            trainer.train_step(batch)
            losses.append(round(float(trainer.loss_sum) - before, 5))
    kernel = next(p for p in trainer.model.parameters() if p.ndim == 4 and p.shape[1] > 1)
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert trainer.scaler.is_enabled() == (mixed == "fp16")
    assert np.isfinite(losses).all(), losses
    return losses


def out_of_memory(asked: Asked, record: Record) -> Facts:
    """With too little memory for a batch a step is redone in parts; eager, then compiled."""
    asked.needs_gpu()
    for switch in ("off", "auto"):
        asked.needs_s(25)
        wanted = plan(asked, 512, compile=switch)
        batch = made_batch(asked, 512, 128, CLASSES, 1)
        with RunLog("gpu_check", asked.work / "live", "ERROR") as log:
            trainer = Trainer(classifier.build(MODEL, CLASSES, None, 1), wanted, 100, log)
            trainer.train_step(batch)
            parts, peak_gb = _step_within(trainer, batch, 0.7)
        record.row(compile=switch, parts=parts, peak_gb=peak_gb, loss=float(trainer.loss_sum) / 2)
        assert parts > 1, "no memory ran out"
        assert np.isfinite(float(trainer.loss_sum))
    return {}


def _step_within(trainer: Trainer, batch: Batch, share: float) -> tuple[int, float]:
    """A step within `share` of the memory one takes: the parts it was done in, GB one takes."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    held = torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    trainer.train_step(batch)
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_reserved()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties().total_memory
    torch.cuda.set_per_process_memory_fraction((held + share * (peak - held)) / total)
    try:
        trainer.train_step(batch)
        torch.cuda.synchronize()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    return trainer.micro_batches, round(peak / 1e9, 2)


def odd_last_batch(asked: Asked, _record: Record) -> Facts:
    """What an epoch's smaller last batch costs a compiled model: once, and in the steps after."""
    asked.needs_gpu()
    asked.needs_s(25)
    with RunLog("gpu_check", asked.work / "live", "ERROR") as log:
        model = classifier.build(MODEL, CLASSES, None, 1)
        trainer = Trainer(model, plan(asked, 32, compile="auto"), 100, log)
    whole, odd = (made_batch(asked, count, 64, CLASSES, 1) for count in (32, 3))
    facts: Facts = {}
    for name, batch, times in (
        ("first_s", whole, 1), ("step_before_s", whole, 30), ("odd_s", odd, 1),
        ("step_after_s", whole, 30),
    ):  # fmt: skip
        begun_s = time.perf_counter()
        for _ in range(times):
            trainer.train_step(batch)
        torch.cuda.synchronize()
        facts[name] = round((time.perf_counter() - begun_s) / times, 4)
    return facts


@dataclass(frozen=True)
class Case:
    """A training that is killed and resumed, and what it is compared with."""

    stage: str
    compile: str
    control: bool  # a second undisturbed run: are two of them equal at all?

    @property
    def name(self) -> str:
        """For a folder."""
        return f"{self.stage}_{self.compile}"


def kill_and_resume(asked: Asked, record: Record) -> Facts:
    """Both trainings as stages, killed by SIGKILL and started again: equal to undisturbed ones?"""
    on_gpu, folder = asked.device.type == "cuda", asked.work / "projects"
    cases = [Case(f"train_{task}", "off", on_gpu) for task in ("detection", "classification")]
    facts = _compare(record, cases, on_gpu, folder)
    for case in cases:  # both trainings' results in one project, for evaluate and what follows
        shutil.copytree(folder / f"{case.name}_first", folder / "use", dirs_exist_ok=True)
    return facts


def kill_and_resume_compiled(asked: Asked, record: Record) -> Facts:
    """The same for the classifier as it is configured on a GPU."""
    asked.needs_gpu()
    cases = [Case("train_classification", "auto", True)]
    return _compare(record, cases, True, asked.work / "compiled_projects")


def _compare(record: Record, cases: Sequence[Case], on_gpu: bool, folder: Path) -> Facts:
    whole = Project(folder)
    results = []
    with ThreadPoolExecutor(len(cases)) as pool:
        begun = [pool.submit(_compared, whole, case, on_gpu, folder) for case in cases]
        for one in as_completed(begun):
            results.append(one.result())
            record.row(**results[-1])
    assert all(facts["ended"] for facts in results), "a training failed: see the rows"
    return {"all_bit_equal": all(facts["bit_equal"] for facts in results)}


def _compared(whole: Project, case: Case, on_gpu: bool, folder: Path) -> Facts:
    """Facts of one case; the first run goes ahead alone: the others use what it compiled."""
    first, again, killed = (_clone(whole, folder / f"{case.name}_{part}", case, on_gpu)
                            for part in ("first", "again", "killed"))  # fmt: skip
    facts: Facts = {"stage": case.stage, "compile": case.compile, "ended": False}
    try:
        begun_s = time.monotonic()
        first.finish(case.stage)
        facts["undisturbed_s"] = round(time.monotonic() - begun_s, 1)
        with ThreadPoolExecutor(2) as pool:
            control = pool.submit(again.finish, case.stage) if case.control else None
            resumed = pool.submit(_kill_once, killed, case.stage)
            if control is not None:
                control.result()
                facts["two_undisturbed_bit_equal"] = _difference(first, again, case.stage) == 0
            facts["lock_held_s"] = round(resumed.result(), 2)
        facts["largest_difference"] = _difference(first, killed, case.stage)
        facts["bit_equal"] = first.weights_hash(case.stage) == killed.weights_hash(case.stage)
        facts["ended"] = True
    except (Exception, SystemExit) as error:  # the other cases go on
        facts["reason"] = f"{type(error).__name__}: {error}"[-1500:]
    return {"bit_equal": False, **facts}


def _clone(whole: Project, path: Path, case: Case, on_gpu: bool) -> Project:
    clone = copy.copy(whole)
    clone.path = Path(shutil.copytree(whole.path, path))
    clone.configure(case.stage, 2 if on_gpu else 0, 1)
    file = clone.path / "params.yaml"
    tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    tree["train"] |= {"compile": case.compile, "epochs": 8 if on_gpu else 4}
    if on_gpu:  # two batches of val at least, else Ultralytics starts no loader processes for it
        tree["train"]["detection_batch_size"] = 4
    file.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return clone


def _kill_once(project: Project, stage: str) -> float:
    """Kill a training after some epochs, start it again; seconds its lock outlived it."""
    process, events = project.start(stage), project.path / "artifacts" / SCALE / "live/events.jsonl"
    while process.poll() is None and _epochs(events, stage) < KILLED_AFTER:
        time.sleep(0.005)
    assert process.poll() is None, (project.path / "output.txt").read_text()[-1500:]
    process.send_signal(signal.SIGKILL)
    process.wait()
    seconds = project.unlocked(stage)
    project.finish(stage)
    return seconds


def _epochs(events: Path, stage: str) -> int:
    """Epochs that the stage has told of."""
    lines = events.read_bytes().rpartition(b"\n")[0].splitlines() if events.exists() else []
    told = [orjson.loads(line) for line in lines]
    return sum(event["kind"] == "epoch" and event["stage"] == stage for event in told)


def _difference(one: Project, other: Project, stage: str) -> float:
    """Largest difference of two trainings' published weights."""
    weights, others = (load_published(project._published(stage))[0] for project in (one, other))
    return max(float((weights[k].double() - others[k].double()).abs().max()) for k in weights)


def evaluate(asked: Asked, _record: Record) -> Facts:
    """The evaluate stage on what was trained."""
    folder = _trained(asked)
    done = subprocess.run(
        stage_command("evaluate"), cwd=folder, env=environment(folder), text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-REASON_CHARS:]
    return {}


def predict_against_cpu(asked: Asked, _record: Record) -> Facts:
    """The same crops and frames on the GPU and on the CPU, then `pillsnap predict`."""
    asked.needs_gpu()
    name_here = str(asked.device)
    with chdir(_trained(asked)):
        places = Places.of(load())
        crops, frames = CropStore(places.crops("val")), FrameStore(places.frames("val"))
        pictures = np.stack([crops.decode(i) for i in range(len(crops))])
        loaded = loading.load("torch", None, name_here)
        here, there = loaded.recogniser, loading.load("torch", None, "cpu").recogniser
        (logits, embeddings), (other, other_embeddings) = (
            recogniser.classifier.classify(pictures) for recogniser in (here, there)
        )
        boxes = np.abs(_raw(here.detector, frames.decode(0)) - _raw(there.detector,
                                                                   frames.decode(0)))  # fmt: skip
        photo = next(Path(str(load().data_root())).rglob("*_200.png"))
        assert predict(loaded, [photo], 3, None, None, "json") == 0
    same = float((logits.argmax(axis=1) == other.argmax(axis=1)).mean())
    assert same > 0.9, f"only {same:.0%} of the names are the CPU's"
    return {
        "crops": len(pictures),
        "same_top1": same,
        "largest_logit_difference": float(np.abs(logits - other).max()),
        "largest_embedding_difference": float(np.abs(embeddings - other_embeddings).max()),
        "largest_box_difference_px": float(boxes[:, :4].max()),
        "largest_score_difference": float(boxes[:, 4].max()),
    }


@torch.inference_mode()
def _raw(finder: Any, frame: np.ndarray) -> np.ndarray:
    """Boxes and scores of all anchors, before suppression."""
    fit = Letterbox.of(frame.shape[1], frame.shape[0], finder.config["image_px"])
    inputs = torch.from_numpy(fit.apply(frame)[None]).to(finder.device)
    return np.asarray(DetectionGraph(finder._model)(inputs).cpu().numpy())


def export_to_onnx(asked: Asked, _record: Record) -> Facts:
    """`pillsnap export`, which compares the graphs with torch."""
    with chdir(_trained(asked)):
        at_scale = load()
        batch_size, max_pixels = at_scale.evaluate.batch_size, at_scale.validate_.max_pixels
        export(Places.of(at_scale), Path("bundle"), batch_size, max_pixels, None)
        description = files.read_json(Path("bundle/bundle.json"), "pillsnap export")
        return dict(description["parity"])


def _trained(asked: Asked) -> Path:
    """The project that holds both trainings."""
    folder = asked.work / "projects" / "use"
    if not folder.exists():
        raise SkippedError("there are no trained models: kill and resume failed")
    return folder


MACHINE = (machine, nvml_readings, preflight)
STEPS = (precisions, out_of_memory, odd_last_batch)
COMPILED = (kill_and_resume_compiled,)
TRAININGS = (kill_and_resume, evaluate, predict_against_cpu, export_to_onnx)
