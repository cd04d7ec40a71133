"""Every benchmark runs at a tiny size and prints its table; its figures are never asserted."""

import os
import subprocess
import sys

import pytest

from make.import_graph import ROOT

TINY = {
    "data.py": ("--photos 3000 --rounds 1", "| build_manifest |"),
    "coverage.py": ("3", "auroc              "),
    "evaluation.py": ("300 12", "12 classes:"),
    "validate.py": ("--frames 10 --rounds 1 --memory 20", "frames per CPU-second"),
    "training.py": (
        "--crops 60 --classes 4 --seconds 0.01 --rounds 1 --budget 0.1 --pairs 1x0 "
        "--crop-px 48 --image-px 32 --frame-px 244 320",
        "| training | epochs | s in all | top-1 |",
    ),
    "rehearsal.py": (
        "--classes 4 --samples 80 --epochs 1 --frame-px 244 320 --num-workers 1 --peak-tflops 1 "
        "--predict-tflops 2 --set classifier=test_resnet image_px=32 crop_px=32 detection_px=96 "
        "frame_px=96 test_unknown_pills=10 detection_single_frames=8 evaluation_frames=10 "
        "train.num_workers=0",
        "at the same share of 2 TFLOP/s",
    ),
    "monitor.py": (
        "--rounds 1 --steps 200 --turn 0.2 --viewers 5 --crops 60 --idle 1",
        "| a step of the training | alone | beside 5 viewers | difference |",
    ),
    "kills.py": (
        "--kills 1 --workers 0 --stages train_classification",
        "| train_classification | 0 | 1 |",
    ),
    "ablation.py": ("--help", "--seeds"),  # from here on a trained demo is needed: minutes to make
    "enrolment.py": ("--help", "--drawings"),
    "onnx_speed.py": ("--help", "bundle"),
    "service.py": ("--help", "photos"),
    "split_flattery.py": ("--help", "--epochs"),
}
PARTS = {"drawn_set.py", "peers.py", "one_training.py"}  # of the others


def test_every_benchmark_is_tried_here():
    assert {path.name for path in (ROOT / "benchmarks").glob("*.py")} == {*TINY, *PARTS}


@pytest.mark.slow
@pytest.mark.parametrize("script", TINY)
def test_benchmark_prints_its_table(script):
    arguments, line = TINY[script]
    done = subprocess.run(
        [sys.executable, f"benchmarks/{script}", *arguments.split()],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert line in done.stdout, done.stdout
