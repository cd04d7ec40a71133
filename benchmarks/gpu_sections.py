"""How a section of gpu_check.py runs: checks one after another, each on its own, results at once.

Not a script. A section's results are one JSON file, written anew after every check and every row of
a table, so that a kill at a time limit leaves what was found.
"""

import gc
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import torch

from pillsnap import files, params
from pillsnap.classification.batches import Batch
from pillsnap.classification.train import ClassificationPlan
from pillsnap.params import Params

ROOT = Path(__file__).parents[1]
NO_GPU = "no CUDA device is used"
REASON_CHARS = 4000

Facts = dict[str, Any]


class SkippedError(Exception):
    """A check that has no meaning here."""


@dataclass(frozen=True)
class Asked:
    """What every check needs to know."""

    work: Path  # this run's folder: crops, projects, results
    device: torch.device
    small: bool
    until_s: float  # the time of day (time.time()) at which the section must be over

    @property
    def left_s(self) -> float:
        """Seconds until then."""
        return self.until_s - time.time()

    def needs_gpu(self) -> None:
        """Skip the check on a CPU."""
        if self.device.type != "cuda":
            raise SkippedError(NO_GPU)

    def needs_s(self, seconds: float) -> None:
        """Skip the check where so much time is not left."""
        if self.left_s < seconds:
            raise SkippedError(f"{self.left_s:.0f} s are left, it needs {seconds:.0f}")


class Record:
    """The results of a section's checks; those that were not reached are there too."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        reached = {"status": "skipped", "reason": "it was not reached"}
        self._path, self._checks = path, [{"name": name, **reached} for name in names]
        self._running: Facts = {}
        self.write()

    def begin(self, number: int) -> None:
        """A check starts; should it end the process, this is what stands there."""
        self._running = self._checks[number]
        self._running |= {"status": "failed", "reason": "it did not end"}
        self.write()

    def row(self, **facts: Any) -> None:
        """A row of the running check's table."""
        self._running.setdefault("rows", []).append(facts)
        self.write()

    def end(self, status: str, reason: str, seconds: float, facts: Facts) -> None:
        """The running check is over."""
        ended = {"status": status, "reason": reason, "seconds": round(seconds, 1), "facts": facts}
        self._running |= ended
        self.write()

    def write(self) -> None:
        """Keep what there is."""
        option = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
        files.write_bytes(self._path, orjson.dumps({"checks": self._checks}, option=option))


Check = Callable[[Asked, Record], Facts | None]


def run_checks(asked: Asked, path: Path, checks: Sequence[Check]) -> None:
    """Run them all: one that fails or is skipped says why, and the next begins."""
    record = Record(path, [check.__name__.replace("_", " ") for check in checks])
    for number, check in enumerate(checks):
        begun_s, facts = time.monotonic(), None
        record.begin(number)
        status, reason = "ok", ""
        try:
            asked.needs_s(2)
            facts = check(asked, record)
        except SkippedError as error:
            status, reason = "skipped", str(error)
        except KeyboardInterrupt:
            status, reason = "failed", "it was ended at the time limit"
        except (Exception, SystemExit):  # the point of it: any failure is a result
            status, reason = "failed", traceback.format_exc()[-REASON_CHARS:]
        record.end(status, reason, time.monotonic() - begun_s, facts or {})
        free(asked.device)


def free(device: torch.device) -> None:
    """Forget compiled graphs and give the GPU's memory back."""
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()
    gc.collect()  # modules and their compiled forms hold each other
    if device.type == "cuda":
        torch.cuda.empty_cache()


def sync(device: torch.device) -> None:
    """Wait for the GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def project(scale: str = "stage3", **of_train: Any) -> Params:
    """params.yaml at another scale; `of_train` are keys of `train`."""
    tree = params.read(ROOT / "params.yaml")
    tree |= {"scale": scale, "train": {**tree["train"], **of_train}}
    return params.parse(tree, ROOT / "params.yaml")


def plan(asked: Asked, batch_size: int, **of_train: Any) -> ClassificationPlan:
    """The plan of a stage-3 training on this device."""
    return ClassificationPlan.of(project(batch_size=batch_size, **of_train), asked.device)


def made_batch(asked: Asked, count: int, image_px: int, classes: int, seed: int) -> Batch:
    """A batch of noise as a loader hands it on: on a GPU machine in page-locked memory."""
    random = torch.Generator().manual_seed(seed)
    shape = (count, image_px, image_px, 3)
    pictures = torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)
    batch = Batch(pictures, torch.randint(0, classes, (count,), generator=random))
    return Batch(*(t.pin_memory() for t in batch)) if asked.device.type == "cuda" else batch
