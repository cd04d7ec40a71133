"""A row of docs/performance.md's record table: cost and result of the trainings in artifacts/.

    python benchmarks/record.py [--peak-tflops N]

PFLOP: forward and twice that backward, for every augmented crop and photo of all epochs. Its share
of the peak (MFU) is relative to N, or to a large matrix product measured here, in the precision of
each training; run it on the machine that trained.
"""

import argparse
import time

import torch
from rehearsal import flops_of_crop
from torch.utils.flop_counter import FlopCounterMode

from pillsnap import files
from pillsnap.detection import detector
from pillsnap.params import load
from pillsnap.places import Places
from pillsnap.training import devices

SIDES, PRODUCTS = {"cuda": 8192, "cpu": 2048}, 10
HEADS = ("scale", "hardware", "minutes", "top-1", "mAP50", "PFLOP", "MFU")


def flops_of_frame(architecture: str, image_px: int) -> float:
    """Floating point operations to train on one square photo."""
    model = detector.build(architecture).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, image_px, image_px))
    return float(3 * counter.get_total_flops())


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Of the best of some matrix products, a second."""
    side = SIDES[device.type]
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(PRODUCTS):
        begun_s = time.perf_counter()
        (a @ b).sum().item()
        seconds.append(time.perf_counter() - begun_s)
    return 2 * side**3 / min(seconds)


def row(peak_tflops: float | None) -> list[str]:
    """The cells under HEADS."""
    params = load()
    places, scale, device = Places.of(params), params.at_scale, devices.choose(params.train.device)
    metrics = files.read_json(places.artifacts_dir / "metrics.json", "dvc repro")
    crops = files.read_json(places.artifacts_dir / "validation.json", "dvc repro")["admitted"]
    frames = len(list((places.data_dir / "detection").glob("**/train/*.jpg")))
    epochs = metrics["training"]["epochs"]
    classes = params.at_scale.classes
    work = {
        "classification": crops["train"]
        * scale.repeats
        * flops_of_crop(scale.classifier, classes, scale.image_px),
        "detection": frames * flops_of_frame(scale.detector, scale.detection_px),
    }
    dtype = devices.autocast_dtype(device, params.train.mixed_precision) or torch.float32
    peak = peak_tflops * 1e12 if peak_tflops else peak_flops(device, dtype)
    total = epochs * sum(work.values())
    minutes = metrics["training"]["total_minutes"]
    return [
        params.scale,
        devices.describe(device),
        f"{minutes:.1f}",
        f"{metrics['classification']['top1']:.3f}",
        f"{metrics['detection']['map50']:.3f}",
        f"{total / 1e15:.3f}",
        f"{total / (60 * minutes * peak):.2f}",
    ]


def main() -> None:
    """Print the row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peak-tflops", type=float, help="of the device, dense, in that precision")
    options = parser.parse_args()
    print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
    print(f"| {' | '.join(row(options.peak_tflops))} |")


if __name__ == "__main__":
    main()
