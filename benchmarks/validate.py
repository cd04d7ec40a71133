"""Times validate on noisy photos of 976 x 1280 px against the plain way of doing the same job.

    python benchmarks/validate.py --frames 300 --rounds 3 --memory 1000 10000

The plain way: PIL opens, converts, crops, resizes and encodes one photo after the other. Every run
is a fresh process, in turns; printed are medians: frames per CPU-second (what a core does, however
busy the machine is), frames a second with one and two processes from the first photo on (starting
the processes takes a second once), and the peak memory of whole runs of validate.
"""

import argparse
import io
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import cv2
import numpy as np
import pandas as pd
import psutil
from PIL import Image

from pillsnap import params
from pillsnap.dataset import manifest
from pillsnap.params import Params
from pillsnap.stage.engines import Engine
from pillsnap.validation.prepare import FrameTask, Recipe, prepare, with_keys
from pillsnap.validation.validate import ValidationPaths, validate
from pillsnap.validation.work_store import Kind, WorkStore

WIDTH, HEIGHT, NOISE = 976, 1280, 2.0
DISTINCT = {"train": 12, "val": 4}
BOX = (300, 420, 260, 240)
CODES = [f"K-{number:06d}" for number in range(10)]
RECIPE = Recipe(256, 0.15, 640, 95, 50_000_000)


class Watch:
    """A silent log that records the largest worker process."""

    def __init__(self) -> None:
        self.worker_peak_mb = 0.0

    def info(self, message: str) -> None:
        pass

    def progress(self, step: int, total: int) -> None:
        if step % 64 == 0:
            processes = psutil.Process().children(recursive=True)
            sizes = [process.memory_info().rss / 2**20 for process in processes]
            self.worker_peak_mb = max([self.worker_peak_mb, *sizes])


def draw(path: Path, seed: int) -> None:
    chance = np.random.default_rng(seed)
    frame = np.full((HEIGHT, WIDTH, 3), 214, dtype=np.float32)
    centre = (BOX[0] + BOX[2] // 2, BOX[1] + BOX[3] // 2)
    cv2.ellipse(frame, (centre, (230, 200), seed * 20), (230, 140 - seed * 5, 90), -1)
    frame = cv2.GaussianBlur(frame, (5, 5), 0)
    frame += chance.normal(0, NOISE, frame.shape).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.clip(frame, 0, 255).astype(np.uint8))


def draw_all(root: Path) -> None:
    """Draw the photos that `link` repeats."""
    for split, count in DISTINCT.items():
        for number in range(count):
            draw(root / "drawn" / split / f"{number}.png", number + 100 * (split == "val"))


def link(root: Path, frames: int) -> list[tuple[str, Path]]:
    """Split and path of so many photos; a few files again and again under other names."""
    photos = []
    for number in range(frames):
        split = "val" if number % 5 == 0 else "train"
        path = root / split / f"{number}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.hardlink_to(root / "drawn" / split / f"{number % DISTINCT[split]}.png")
        photos.append((split, path))
    return photos


def plain(root: Path, frames: int) -> dict[str, float]:
    begun_s = time.perf_counter()
    x, y, w, h = BOX
    side = round(max(w, h) * 1.3)
    left, top = x + w // 2 - side // 2, y + h // 2 - side // 2
    for _, path in link(root, frames):
        picture = Image.open(path).convert("RGB")
        crop = picture.crop((left, top, left + side, top + side)).resize((256, 256))
        crop.save(io.BytesIO(), "JPEG", quality=95, subsampling=0)
    return {"frames_per_s": frames / (time.perf_counter() - begun_s)}


def pack(root: Path, frames: int) -> list[Path]:
    """The same photos in an archive each for those stored and those deflated."""
    archives = {method: root / f"{frames}_{method}.zip" for method in (ZIP_STORED, ZIP_DEFLATED)}
    paths = [path for _, path in link(root, frames)]
    if not archives[ZIP_STORED].exists():
        for (method, archive), half in zip(
            archives.items(), (paths[::2], paths[1::2]), strict=True
        ):
            with ZipFile(archive, "w", method) as file:
                for path in half:
                    file.write(path, path.name)
    return [archive / path.name for at, archive in enumerate(archives.values())
            for path in paths[at::2]]  # fmt: skip


def ours(root: Path, frames: int, workers: int, zipped: bool = False) -> dict[str, float]:
    paths = pack(root, frames) if zipped else [path for _, path in link(root, frames)]
    tasks = [
        FrameTask(path.name, path, (BOX,), (WIDTH, HEIGHT), frozenset([Kind.CROP]))
        for path in paths
    ]
    before_s = time.process_time()
    steps: list[tuple[float, int]] = []

    def record(done: int, _total: int) -> None:
        steps.append((time.perf_counter(), done))

    with tempfile.TemporaryDirectory() as work, WorkStore(Path(work) / "a.sqlite") as store:
        prepare(with_keys(tasks), root, RECIPE, store, Engine(processes=workers), record)
    (first_s, first), (last_s, last) = steps[1], steps[-1]
    return {
        "frames_per_s": (last - first) / (last_s - first_s),
        "ours_cpu_s": time.process_time() - before_s,
    }


def project(root: Path, folder: Path, frames: int, workers: int) -> tuple[ValidationPaths, Params]:
    """Manifests of so many photos, and the parameters of stage 3 for them."""
    photos = link(root, frames)
    codes = CODES[: frames // 5]  # each has photos in val
    numbered = enumerate(photos)
    rows = [_row(path.relative_to(root), split, codes, i) for i, (split, path) in numbered]
    table = pd.DataFrame(rows)
    loaded = params.load(Path(__file__).parents[1] / "params.yaml")
    scale = loaded.scales["stage3"].model_copy(
        update={"samples": frames, "classes": len(codes), "combination_share": 0.0,
                "val_share": 0.2, "min_train_per_class": 1, "min_val_per_class": 1,
                "detection_single_frames": 100, "evaluation_frames": 100}
    )  # fmt: skip
    places = ValidationPaths(root, *(folder / name for name in ("artifacts", "data", "work")))
    for split in manifest.SPLITS:
        path = places.artifacts_dir / f"manifest_{split}.csv"
        manifest.write(path, table[table["split"] == split])
    classes = pd.DataFrame("", index=range(len(codes)), columns=list(manifest.CLASS_COLUMNS))
    numbers = {"class_index": range(len(codes)), "train_pills": 1, "val_pills": 1}
    classes = classes.assign(mapping_code=codes, **numbers)
    manifest.write_classes(places.artifacts_dir / "classes.csv", classes)
    limits = loaded.validate_.model_copy(update={"num_workers": workers})
    return places, loaded.model_copy(update={"scales": {"demo": scale}, "validate_": limits})


def whole(root: Path, frames: int, workers: int) -> dict[str, float]:
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        admitted = validate(*project(root, Path(folder), frames, workers), watch)["admitted"]
    assert admitted == frames, (admitted, frames)
    return {"worker_peak_mb": watch.worker_peak_mb}


def _row(path: Path, split: str, codes: list[str], number: int) -> dict[str, Any]:
    code = codes[number // 5 % len(codes)]
    texts = {name: "x" for name, kind in manifest.COLUMNS.items() if kind == "str"}
    return {
        **dict.fromkeys(manifest.COLUMNS, 0),
        **texts,
        **dict(zip(("box_x", "box_y", "box_w", "box_h"), BOX, strict=True)),
        "image_path": path.as_posix(),
        "image_type": "single",
        "mapping_code": code,
        "class_index": codes.index(code),
        "known": True,
        "image_width": WIDTH,
        "image_height": HEIGHT,
        "group_id": f"{code}/{split}",
        "split": split,
    }


def measure(job: str, root: Path, frames: int, workers: int) -> dict[str, float]:
    """Run a job in this process; its results, CPU seconds and peak memory."""
    jobs = {"plain": lambda: plain(root, frames), "ours": lambda: ours(root, frames, workers),
            "zipped": lambda: ours(root, frames, workers, zipped=True),
            "whole": lambda: whole(root, frames, workers)}  # fmt: skip
    before_s = time.process_time()
    result = jobs[job]()
    return {
        **result,
        "cpu_s": time.process_time() - before_s,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def fresh(job: str, root: Path, frames: int, workers: int) -> dict[str, float]:
    """`measure` in a fresh process."""
    arguments = ["--job", job, "--root", str(root), "--frames", str(frames)]
    command = [sys.executable, __file__, *arguments, "--workers", str(workers)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs="*", default=[1000, 10000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.job:
        print(json.dumps(measure(wanted.job, wanted.root, wanted.frames, wanted.workers)))
        return
    with tempfile.TemporaryDirectory() as folder:
        report(Path(folder), wanted.frames, wanted.rounds, wanted.memory, wanted.workers)


def report(root: Path, frames: int, rounds: int, sizes: list[int], workers: int) -> None:
    """Draw the photos, run everything in turns, print the table."""
    draw_all(root)
    sizes_mb = [path.stat().st_size / 1e6 for path in root.rglob("*.png")]
    print(f"photos of {statistics.mean(sizes_mb):.2f} MB, {frames} a run, {rounds} rounds")
    runs = {
        "plain": ("plain", 1),
        "one": ("ours", 1),
        "zipped": ("zipped", 1),
        "more": ("ours", workers),
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (job, processes) in runs.items():
            found[name].append(fresh(job, root, frames, processes))
    per_core = {
        name: statistics.median(frames / run["cpu_s"] for run in found[name])
        for name in ("plain", "one")
    }
    rate = {name: statistics.median(r["frames_per_s"] for r in found[name]) for name in runs}
    print(f"plain PIL             {per_core['plain']:7.1f} frames per CPU-second")
    print(f"validate              {per_core['one']:7.1f} frames per CPU-second, "
          f"{per_core['one'] / per_core['plain']:.2f} times as many")  # fmt: skip
    print(f"1 process             {rate['one']:7.1f} frames/s")
    print(f"{workers} processes           {rate['more']:7.1f} frames/s, "
          f"{rate['more'] / rate['one']:.2f} times as many")  # fmt: skip
    ratios = [one["ours_cpu_s"] / two["ours_cpu_s"]
              for one, two in zip(found["one"], found["zipped"], strict=True)]  # fmt: skip
    peaks = [statistics.median(run["peak_mb"] for run in found[name]) for name in ("one", "zipped")]
    print(f"out of zip archives   {statistics.median(ratios):7.2f} times as many per CPU-second "
          f"({min(ratios):.2f} to {max(ratios):.2f}), peak {peaks[1]:.0f} MB "
          f"against {peaks[0]:.0f} MB")  # fmt: skip
    for size in sizes:
        run = fresh("whole", root, size, workers)
        print(f"whole run, {size:7d} frames: peak {run['peak_mb']:.0f} MB, "
              f"largest worker {run['worker_peak_mb']:.0f} MB")  # fmt: skip


if __name__ == "__main__":
    main()
