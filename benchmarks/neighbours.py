"""A training step of the demo's models beside 0, 1 and 2 busy processes.

    python benchmarks/neighbours.py 5   # rounds

A process for each OpenMP setting is asked in turn: all meet the same load. Shown are medians over
the rounds, relative to libgomp's default without a neighbour in the same round.
"""

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from operator import truediv
from subprocess import PIPE, Popen

SETTINGS = ("GOMP_SPINCOUNT=300000", "GOMP_SPINCOUNT=10000", "GOMP_SPINCOUNT=4000",
            "GOMP_SPINCOUNT=1000", "OMP_WAIT_POLICY=passive", "OMP_NUM_THREADS=1")  # fmt: skip
SECONDS = 0.5  # of a measurement, at least
BUSY = [sys.executable, "-c", "while True: pass"]


def steps() -> dict[str, Callable[[], None]]:
    """Forward and backward pass of each model, in the precision that auto chooses here."""
    import torch

    from pillsnap.classification import classifier
    from pillsnap.detection import detector
    from pillsnap.training import devices

    dtype = devices.autocast_dtype(torch.device("cpu"), "auto")
    classify = classifier.build("test_resnet", 24, None, 0).to(memory_format=torch.channels_last)
    detect = detector.build("yolo11n").to(memory_format=torch.channels_last)

    def step(model: torch.nn.Module, count: int, px: int) -> None:
        pictures = torch.rand(count, 3, px, px).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            output = model(pictures)
        maps = output["feats"] if isinstance(output, dict) else [output]
        sum(one.float().square().mean() for one in maps).backward()

    return {"detector": lambda: step(detect, 16, 224), "classifier": lambda: step(classify, 32, 96)}


def serve() -> None:
    """Answer lines `model` on stdin with the mean seconds of a step."""
    of = steps()
    for model in map(str.strip, sys.stdin):
        begun_s, count = time.monotonic(), 0
        while time.monotonic() - begun_s < SECONDS:
            of[model]()
            count += 1
        print((time.monotonic() - begun_s) / count, flush=True)


def main() -> None:
    """Measure all settings in turn and print a table."""
    servers = [
        Popen(["env", "-u", "OMP_WAIT_POLICY", setting, sys.executable, __file__, "serve"],
              stdin=PIPE, stdout=PIPE, text=True) for setting in SETTINGS
    ]  # fmt: skip
    print("| model | setting | no neighbour | one | two |\n|---|---|---|---|---|")
    for model in ("detector", "classifier"):
        found = defaultdict(list)
        for _ in range(int(sys.argv[1])):
            for neighbours in range(3):
                busy = [Popen(BUSY) for _ in range(neighbours)]
                for setting, server in zip(SETTINGS, servers, strict=True):
                    print(model, file=server.stdin, flush=True)
                    found[setting, neighbours].append(float(server.stdout.readline()))
                for process in busy:
                    process.kill()
        base = found[SETTINGS[0], 0]
        for setting in SETTINGS:
            ratios = [statistics.median(map(truediv, found[setting, n], base)) for n in range(3)]
            print(f"| {model} | {setting} |", *(f"{ratio:.2f} |" for ratio in ratios), flush=True)


if __name__ == "__main__":
    serve() if "serve" in sys.argv else main()
