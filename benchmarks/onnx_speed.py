"""Both models by torch and by onnxruntime, one picture at a time, interleaved, from a bundle.

    python benchmarks/onnx_speed.py BUNDLE [--threads N] [--rounds N]

Prints medians of CPU milliseconds per frame (detect) and per crop (name), and their ratio.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from pillsnap.classification import classifier
from pillsnap.detection import detector
from pillsnap.release.bundle import Bundle
from pillsnap.release.onnx_models import OnnxClassifier, OnnxDetector


def cpu_ms(work: Callable[[], object]) -> float:
    """CPU milliseconds of one call."""
    begun_s = time.process_time()
    work()
    return (time.process_time() - begun_s) * 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    bundle, cpu = Bundle(options.bundle), torch.device("cpu")
    finders = (
        detector.load(bundle.detection_pt, cpu),
        OnnxDetector(bundle.detection_onnx, options.threads),
    )
    namers = (
        classifier.load(bundle.classification_pt, cpu, None),
        OnnxClassifier(bundle.classification_onnx, options.threads),
    )
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 255, (1280, 976, 3)).astype(np.uint8)
    crop_px = int(namers[0].config["crop_px"])
    crop = rng.integers(0, 255, (1, crop_px, crop_px, 3)).astype(np.uint8)
    steps: dict[str, Callable[[], object]] = {}
    for name, finder, namer in zip(("torch", "onnx"), finders, namers, strict=True):
        steps[f"detect {name}"] = lambda finder=finder: finder.detect([frame], 0.25, 0.6)
        steps[f"name {name}"] = lambda namer=namer: namer.classify(crop)
    found: dict[str, list[float]] = {key: [] for key in steps}
    for turn in range(options.rounds + 5):
        for key, work in steps.items():
            spent = cpu_ms(work)
            if turn >= 5:  # the first calls warm up
                found[key].append(spent)
    for key, values in found.items():
        median = float(np.median(values))
        torch_ms = float(np.median(found[f"{key.split()[0]} torch"]))
        print(f"{key:15} {median:7.2f} ms  {torch_ms / median:.2f}x")


if __name__ == "__main__":
    main()
