"""Rehearses stage 3 on drawn pills: draws the tree, runs all five stages, prints what they cost.

    python benchmarks/rehearsal.py --classes 1000 --samples 100000 --epochs 18 --peak-tflops 989
    python benchmarks/rehearsal.py --classes 8 --samples 160 --epochs 2 --frame-px 244 320 \
        --set classifier=test_resnet image_px=64 crop_px=64 detection_px=96 frame_px=160

The stages run in a temporary copy of the repository, without dvc and git, from scratch (no
weights are fetched). At full size and 976 x 1280 px the photos take some 120 GB; --work names a
folder with that room, --frame-px 488 640 needs a quarter. A tree drawn there before is used again.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any

import orjson
import yaml

from pillsnap.demo.progress import lines
from pillsnap.demo.tree import draw_tree
from pillsnap.formats import fingerprint
from pillsnap.params import DemoParams

ROOT = Path(__file__).parents[1]
STAGES = ("build_manifest", "validate", "train_detection", "train_classification", "evaluate")
VIEWS_OF_CODE = 18  # backgrounds x lights x sides
PILLS_OF_FOLDER = 11.5  # 3 photos of 3.84 pills on average
SCALE = "stage3"


def copy_project(folder: Path, changes: Mapping[str, Any]) -> Path:
    """What the stages need, in `folder`; `changes` maps dotted keys of params.yaml to values."""
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dvc.yaml", folder)
    (folder / "data/corrections").mkdir(parents=True)
    shutil.copy(ROOT / "data/corrections/README.md", folder / "data/corrections")
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for key, value in changes.items():
        *path, last = key.split(".")
        node = tree
        for part in path:
            node = node[part]
        assert last in node, f"params.yaml has no {key}"
        node[last] = value
    (folder / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return folder


def record_fingerprint(project: Path, scale: str, root: Path) -> None:
    """What `pillsnap fingerprint` does."""
    (project / fingerprint.FINGERPRINTS_DIR).mkdir(parents=True, exist_ok=True)
    fingerprint.write(project / fingerprint.path_of(scale), scale, fingerprint.take(root))


def environment(project: Path) -> dict[str, str]:
    """The caller's, with the copied package first and no data root of the caller's."""
    left_out = {"PILLSNAP_DATA_ROOT", "DVC_ROOT"}
    base = {key: value for key, value in os.environ.items() if key not in left_out}
    path = os.pathsep.join(filter(None, [str(project / "src"), base.get("PYTHONPATH")]))
    return {**base, "PYTHONPATH": path}


def stage_command(stage: str) -> list[str]:
    """How a stage is started in the project's folder."""
    return [sys.executable, f"src/{stage}.py"]


def spec(asked: argparse.Namespace) -> DemoParams:
    """A tree that holds the samples and some to spare, as selection leaves some out."""
    singles = asked.samples * (1 - asked.combination_share) / asked.classes
    folders = ceil(1.3 * asked.samples * asked.combination_share / PILLS_OF_FOLDER)
    return DemoParams(
        classes=asked.classes + 2 + asked.classes // 50,
        unknown_classes=max(2, asked.classes // 20),
        photos_per_group=max(1, ceil(1.1 * singles / VIEWS_OF_CODE)),
        combination_folders=max(4, folders),
        test_combination_folders=max(2, folders // 6),
        unknown_twins=0,
        unknown_photos=VIEWS_OF_CODE,
        phone_photos=0,
        frame_width_px=asked.frame_px[0],
        frame_height_px=asked.frame_px[1],
        noise=0.8,
    )


def changes(asked: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Keys of params.yaml that make stage 3 run on the drawn tree, from scratch."""
    per_class = asked.samples / asked.classes
    at_scale = {
        "root": str(root.resolve()),
        "samples": asked.samples,
        "classes": asked.classes,
        "combination_share": asked.combination_share,
        "min_train_per_class": min(40, max(1, int(per_class * 0.3))),
        "min_val_per_class": min(5, max(1, int(per_class * 0.05))),
        "classifier_weights": None,
        "detector_weights": None,
        **dict(_parsed(text) for text in asked.set if "." not in text.partition("=")[0]),
    }
    whole = {
        "scale": SCALE,
        "seed": asked.seed,
        "data.root": None,
        "train.epochs": asked.epochs,
        **dict(_parsed(text) for text in asked.set if "." in text.partition("=")[0]),
    }
    return {**{f"scales.{SCALE}.{key}": value for key, value in at_scale.items()}, **whole}


def _parsed(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    return key, yaml.safe_load(value)


def run_stages(project: Path) -> dict[str, float]:
    """Minutes of every stage."""
    minutes: dict[str, float] = {}
    for stage in STAGES:
        begun_s = time.monotonic()
        done = subprocess.run(stage_command(stage), cwd=project, env=environment(project))
        if done.returncode:
            sys.exit(f"{stage} ended with {done.returncode}")
        minutes[stage] = (time.monotonic() - begun_s) / 60
    return minutes


def events_of(project: Path, stage: str) -> list[dict[str, Any]]:
    """The stage's events."""
    text = (project / "artifacts" / SCALE / "live" / "events.jsonl").read_bytes()
    events = [orjson.loads(line) for line in text.splitlines()]
    return [event for event in events if event["stage"] == stage]


def peak(events: list[dict[str, Any]], key: str) -> float | None:
    """Largest hardware figure of that name; None where there is none."""
    values = [event["hardware"][key] for event in events if key in event["hardware"]]
    return max(values) if values else None


def steady_use(events: list[dict[str, Any]], key: str) -> float | None:
    """Mean hardware figure inside the epochs after the first, which compiles and warms up."""
    within = [event for event in events if event["kind"] == "progress"]
    late = [event for event in within if (event["epoch"] or 0) > 1] or within
    values = [event["hardware"][key] for event in late if key in event["hardware"]]
    return statistics.mean(values) if values else None


def images_per_s(events: list[dict[str, Any]]) -> float | None:
    """Median of the epochs after the first."""
    rates = [event["metrics"]["images_per_s"] for event in events if event["kind"] == "epoch"]
    return statistics.median(rates[1:] or rates) if rates else None


def training_flops(project: Path) -> float:
    """Those of a crop in a project."""
    tree = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    at_scale = tree["scales"][SCALE]
    return flops_of_crop(at_scale["classifier"], at_scale["classes"], at_scale["image_px"])


def flops_of_crop(architecture: str, classes: int, image_px: int) -> float:
    """Floating point operations to train on one crop: forward, and twice that backward."""
    import torch  # several seconds: here, because other benchmarks use the rest of this module
    from torch.utils.flop_counter import FlopCounterMode

    from pillsnap.classification import classifier

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = classifier.build(architecture, classes, None, 0).eval()
        model(torch.empty(1, 3, image_px, image_px))
    return float(3 * counter.get_total_flops())


def report(project: Path, minutes: dict[str, float], asked: argparse.Namespace) -> None:
    """Print the tables."""
    print("\n| stage | minutes | images/s | RAM peak MB | GPU peak MB | GPU % in steady state |")
    print("|---|---|---|---|---|---|")
    for stage, spent in minutes.items():
        events = events_of(project, stage)
        figures = [
            spent, images_per_s(events), peak(events, "ram_used_mb"),
            peak(events, "gpu_memory_used_mb"), steady_use(events, "gpu_util_pct"),
        ]  # fmt: skip
        print(f"| {stage} | " + " | ".join(_shown(figure) for figure in figures) + " |")
    folder = project / "artifacts" / SCALE
    ends = [event for event in events_of(project, "evaluate") if event["kind"] == "end"]
    print(f"\nevaluate: {ends[-1]['metrics']}")
    print(f"trainings together {sum(v for k, v in minutes.items() if 'train' in k):.1f} min")
    counts = orjson.loads((folder / "sampling.json").read_bytes())["counts"]
    pills = ", ".join(f"{split} {counts[split]['pills']:,}" for split in counts)
    print(f"pills: {pills}; {counts['train']['classes']} classes")
    rate = images_per_s(events_of(project, "train_classification"))
    if asked.peak_tflops and rate:
        reached = rate * training_flops(project) / 1e12
        share = reached / asked.peak_tflops
        print(f"classifier: {reached:.3g} TFLOP/s, {share:.1%} of {asked.peak_tflops:g}")
        for other in asked.predict_tflops:
            print(f"at the same share of {other:g} TFLOP/s: {rate * other / asked.peak_tflops:.0f}"
                  " images/s")  # fmt: skip


def _shown(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:,.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--combination-share", type=float, default=0.05)
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--frame-px", type=int, nargs=2, default=(976, 1280))
    parser.add_argument("--num-workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE",
                        help="of params.yaml; without a dot: of the scale")  # fmt: skip
    parser.add_argument("--peak-tflops", type=float, help="bf16 peak of the GPU, dense")
    parser.add_argument("--predict-tflops", type=float, nargs="*", default=[], help="of others")
    parser.add_argument("--work", type=Path, help="kept; otherwise a temporary folder")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.work) as temporary:
        root = (asked.work or Path(temporary)) / "tree"
        begun_s = time.monotonic()
        draw_tree(root, spec(asked), asked.seed, asked.num_workers, lines("drawing photos"))
        drawn_min = (time.monotonic() - begun_s) / 60
        project = copy_project(Path(temporary) / "project", changes(asked, root))
        record_fingerprint(project, SCALE, root)
        minutes = run_stages(project)
        import torch

        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
        print(f"\n{device}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.2f}; "
              f"tree drawn in {drawn_min:.1f} min")  # fmt: skip
        report(project, minutes, asked)


if __name__ == "__main__":
    main()
