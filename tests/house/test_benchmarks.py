"""Every benchmark runs at a tiny size and prints its table; its figures are never asserted."""

import os
import shlex
import shutil
import subprocess
import sys

import orjson
import pytest

from make.import_graph import ROOT

TINY = {
    "data.py": ("--photos 3000 --rounds 1", "| build_manifest |"),
    "search.py": ("--drugs 300 --queries 50", "true drug lost: 0"),
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
        "| training step | alone | with 5 viewers | difference |",
    ),
    "kills.py": (
        "--kills 1 --workers 0 --stages train_classification",
        "| train_classification | 0 | 1 |",
    ),
    "damage.py": (
        "--only labels archives multipart params.yaml 'pictures, validate' 'plain PNG, validate'"
        " --count 20",
        "| params.yaml | 20 |",
    ),
    "engines.py": ("--frames 300 --engines local 2", "| 2 | "),
    "crashes.py": (
        "--targets build_manifest validate --kills 2 --failures 1 --workers 1",
        "| together |",
    ),
    "surroundings.py": ("--parts dvc --cases 1", "| dvc exp run: "),
    "host_step.py": ("--model test_resnet --rounds 2", "| part of a step | before, ms | now, ms |"),
    "neighbours.py": ("1", "| classifier | OMP_NUM_THREADS=1 |"),
    "pages.py": ("--help", "--axe"),
    "real_pills.py": ("--help", "--drugs"),
    "register_photos.py": ("--help", "--legible"),
    "ablation.py": ("--help", "--seeds"),  # from here on a trained demo is needed: minutes to make
    "enrolment.py": ("--help", "--drawings"),
    "imprints.py": ("--help", "--pills"),
    "pairs.py": ("--help", "--split"),
    "prescriptions.py": ("--help", "--count"),
    "objectives.py": ("--help", "--teacher"),
    "onnx_speed.py": ("--help", "bundle"),
    "record.py": ("--help", "--peak-tflops"),
    "review.py": ("--help", "--spoilt"),
    "service.py": ("--help", "photos"),
    "soak.py": ("--help", "--minutes"),
    "split_flattery.py": ("--help", "--epochs"),
}
PARTS = {
    "damage_models.py", "damage_targets.py",
    "drawn_set.py", "peers.py", "one_training.py", "drawn_crops.py", "drawn_events.py",
    "gpu_sections.py", "faulted.py", "pill_pairs.py",
    "gpu_paths.py", "gpu_speed.py", "gpu_stage3.py",
}  # of the others  # fmt: skip
WITHOUT_GPU = {  # what of gpu_check.py has a meaning there
    "draw crops", "machine", "kill and resume", "evaluate", "export to onnx", "training steps",
    "host time of a step", "checkpoint stall", "as configured", "large batches",
    "detector training", "detector step", "input pipeline",
}  # fmt: skip
SIX_FACTS = {"revision", "hardware", "configuration", "command", "result", "date"}


def test_every_benchmark_is_tried_here():
    assert {path.name for path in (ROOT / "benchmarks").glob("*.py")} == {
        *TINY, *PARTS, "gpu_check.py"
    }  # fmt: skip


def printed(script, *arguments):
    done = subprocess.run(
        [sys.executable, f"benchmarks/{script}", *arguments], cwd=ROOT, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("script", TINY)
def test_benchmark_prints_its_table(script):
    if script == "crashes.py" and not (sys.platform == "linux" and shutil.which("cc")):
        pytest.skip("needs Linux and a C compiler")
    arguments, line = TINY[script]
    assert line in printed(script, *shlex.split(arguments))


@pytest.mark.slow
@pytest.mark.timeout(600)  # a minute and a half on two quiet cores
def test_gpu_check_goes_through_all_sections_on_a_cpu(tmp_path):
    arguments = ["--device", "cpu", "--small", "--out", tmp_path]
    shown = printed("gpu_check.py", *arguments)
    results = orjson.loads((tmp_path / "gpu_check.json").read_bytes())
    sections = results["sections"].values()
    checks = {check["name"]: check for section in sections for check in section["checks"]}
    ok = {name for name, check in checks.items() if check["status"] == "ok"}
    reasons = {check["reason"] for name, check in checks.items() if name not in ok}
    left_out = {section["reason"] for section in sections if not section["checks"]}
    assert ok == WITHOUT_GPU, shown
    assert reasons == left_out == {"no CUDA device is used"}
    assert all(results[fact] for fact in SIX_FACTS)
    report = (tmp_path / "gpu_check.md").read_text()
    assert all(f"- {fact}: " in report for fact in SIX_FACTS)
