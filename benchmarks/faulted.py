"""One run of a stage or command of a tiny project that meets a fault, for campaigns.

faults.c, loaded into every process, counts the points of a run: each file below the project that is
opened for writing, each write, fsync, rename, truncation and deletion. Runs are forked from a
process that has imported the libraries, and write the bytes of a plain start.
"""

import ctypes
import hashlib
import importlib
import itertools
import os
import random
import re
import runpy
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kills import AT_SCALE, SCALE, SPEC
from rehearsal import copy_project, record_fingerprint

from pillsnap.demo.tree import draw_tree

COUNT, KILL_BEFORE, KILL_WITHIN, KILL_AFTER, FAIL_ONCE, FAIL_ON, CUT = range(1, 8)  # of faults.c
MODES = {KILL_BEFORE: "before", KILL_WITHIN: "within", KILL_AFTER: "after"}
FAILURES = {FAIL_ONCE: "EIO once", FAIL_ON: "ENOSPC on", CUT: "ENOSPC, cut"}
LONGEST_S = 180.0
HEAVY = {
    "build_manifest": ("pillsnap.manifest.build", "pillsnap.manifest.sampling_plot",
                       "matplotlib.backends.backend_agg"),
    "validate": ("pillsnap.validation.validate", "pyarrow.pandas_compat"),
    "train_detection": ("pillsnap.detection.train", "pillsnap.training.launch", "dvc.repo",
                        "dulwich.repo"),
    "train_classification": ("pillsnap.classification.train",),
    "evaluate": ("pillsnap.evaluation.evaluate", "sklearn.metrics"),
    "export": ("pillsnap.cli", "pillsnap.release.export"),
    "enroll": ("pillsnap.prediction.enrol_command",),
}  # imported before the runs are forked  # fmt: skip
OUTS = {
    "build_manifest": ("manifest_*.csv", "classes.csv", "sampling.*"),
    "validate": ("validation.*", "rejected.csv"),
    "train_detection": ("checkpoints/*_detection_*", "live/detection"),
    "train_classification": ("checkpoints/*_classification_*", "live/classification"),
    "evaluate": (
        "checkpoints/*_recogniser.json", "checkpoints/*.md", "figures", "coco", "*.parquet",
        "per_class.csv", "results_*.csv", "report.html", "evaluation.json", "metrics.json",
    ),
}  # fmt: skip
MORE_OUTS = {"validate": (f"data/{SCALE}",), "export": ("bundle",), "enroll": ("gallery",)}
COMMANDS = {
    "export": ("--out", "bundle"),
    "enroll": ("K-000999", "one.png", "two.png", "--single", "--twin", "--name", "new"),
}
TARGETS = (*OUTS, *COMMANDS)
TIMED = re.compile(r"images_per_s|hardware|seconds|minutes|resumed")


@dataclass(frozen=True)
class Fault:
    """What happens at the n-th point of a run: a signal, or an error number."""

    action: int
    point: int
    number: int

    @property
    def name(self) -> str:
        if self.action in MODES:
            return f"{signal.Signals(self.number).name} {MODES[self.action]}"
        return FAILURES[self.action]


@dataclass(frozen=True)
class Run:
    """What came of a run."""

    code: int  # of the process; negative: the signal that ended it
    points: list[str]
    hit: str | None  # the point of the fault
    output: str


class Project:
    """A copy of the tiny project and how its stages and commands are run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = path.with_name(f"{path.name}.log")
        self._output = path.with_name(f"{path.name}.out")

    def run(
        self, target: str, fault: Fault | None = None, prepare: Callable[[], object] = list
    ) -> Run:
        """Run a target to its end, whatever that is; `prepare` is called in its process first."""
        self._log.write_bytes(b"")
        return self.result(self.start(target, fault, prepare), target)

    def start(self, target: str, fault: Fault | None, prepare: Callable[[], object] = list) -> int:
        """The process id of a run."""
        child = os.fork()
        if child == 0:
            with self._output.open("wb") as output:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
            code = 1
            try:
                os.chdir(self.path)
                prepare()
                self._arm(fault or Fault(COUNT, 0, 0))
                code = started(target)
                threading._shutdown()
                sys.stderr.flush()
            except KeyboardInterrupt:
                code = 130
            finally:
                os._exit(code)
        return child

    def result(self, child: int, target: str) -> Run:
        """What came of a started run, which is stopped when it hangs."""
        deadline_s = time.monotonic() + LONGEST_S
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > deadline_s:
                os.kill(child, signal.SIGKILL)
                sys.exit(f"{target} hangs")
            time.sleep(0.002)
        lines = self._log.read_text().splitlines()
        hit = next((line[1:] for line in lines if line.startswith("!")), None)
        code = os.waitstatus_to_exitcode(ended[1])
        return Run(code, [line.lstrip("!") for line in lines], hit, self._output.read_text())

    def _arm(self, fault: Fault) -> None:
        library = ctypes.CDLL(os.environ["LD_PRELOAD"])
        names = (str(self.path).encode(), str(self._log).encode())
        library.faults_arm(fault.action, ctypes.c_long(fault.point), fault.number, *names)

    def clear(self, target: str) -> None:
        """Forget what a target wrote."""
        shutil.rmtree(self.path / ".checkpoints" / target, ignore_errors=True)
        patterns = [f"artifacts/{SCALE}/{pattern}" for pattern in OUTS.get(target, ())]
        for pattern in (*patterns, *MORE_OUTS.get(target, ())):
            for path in self.path.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def digests(self) -> dict[str, str]:
        """Every file and its hash, without what is measured in seconds; names of work files."""
        kept = {}
        for path in sorted(self.path.rglob("*")):
            name = str(path.relative_to(self.path))
            if (
                path.is_dir()
                or "/plots/metrics/hardware/" in name
                or name.startswith("src/")
                or name.endswith("events.jsonl")
            ):
                continue
            content = path.read_bytes()
            if "/live/" in name:
                timed = TIMED.search(name)
                lines = [
                    b"" if timed or TIMED.search(str(row)) else row for row in content.split(b"\n")
                ]
                content = b"\n".join(lines)
            if not name.startswith(".checkpoints/"):
                kept[name] = hashlib.sha256(content).hexdigest()
            elif not name.endswith(("-wal", "-shm")):  # SQLite's own, until it is closed well
                kept[name] = ""
        return kept


def import_for(targets: Sequence[str]) -> None:
    """Import what the targets need; nothing may have run when a process is forked."""
    for name in itertools.chain.from_iterable(HEAVY[target] for target in targets):
        importlib.import_module(name)


def started(target: str) -> int:
    """The exit code of a stage or command run in this process, as the interpreter would give it."""
    from pillsnap.stage import hardware

    hardware.HardwareSampler.mean = lambda _self: {}
    time.perf_counter = itertools.count(step=0.001).__next__  # speeds are outs as well
    begun = time.gmtime(0)
    time.gmtime = lambda *_: begun  # the date of an evaluation is, too
    script, sys.argv = f"src/{target}.py", [f"src/{target}.py"]
    try:
        if target in OUTS:
            runpy.run_path(script, run_name="__main__")
        else:
            sys.argv = ["pillsnap", target, *COMMANDS[target]]
            importlib.import_module("pillsnap.cli").main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except KeyboardInterrupt:
        return 130
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def build(folder: Path) -> Project:
    """The tiny project, before any stage."""
    tree = folder / "tree"
    if not tree.exists():
        draw_tree(tree, SPEC, 1, 1, lambda _done, _total: None)
    of_scale = {f"scales.{SCALE}.{key}": value for key, value in AT_SCALE.items()}
    changes = {
        **of_scale, f"scales.{SCALE}.root": str(tree), "train.batch_size": 32, "train.epochs": 2,
        "train.num_workers": 0, "build_manifest.num_workers": 1, "validate.num_workers": 1,
        f"scales.{SCALE}.classifier": "test_resnet", f"scales.{SCALE}.repeats": 1,
        f"scales.{SCALE}.detection_px": 64, "train.detection_batch_size": 8,
        "evaluate.bootstrap_rounds": 20,
    }  # fmt: skip
    project = Project(copy_project(folder / "project", changes))
    record_fingerprint(project.path, SCALE, tree)
    photos = itertools.islice(sorted(tree.rglob("*/single/*/*/*.png")), 2)
    for name, photo in zip(("one.png", "two.png"), photos, strict=True):
        shutil.copy(photo, project.path / name)
    return project


def pick(points: Sequence[str], chance: random.Random) -> int:
    """Number of a point; every name is as likely."""
    name = chance.choice(sorted(set(map(name_of, points))))
    return chance.choice([at for at, point in enumerate(points) if name_of(point) == name])


def name_of(point: str) -> str:
    """The name of a point: numbers in paths are dropped."""
    operation, _, path = point.partition(" ")
    return f"{operation} {re.sub('[0-9a-f]{16}|[0-9]+', '#', Path(path).name)}"


def with_faults(command: list[str], folder: Path) -> int:
    """The exit code of a program that runs with faults.c loaded, and one thread."""
    library = folder / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "LD_PRELOAD": str(library)}
    return subprocess.run(command, env=variables).returncode
