"""Kills the trainings at random moments and compares their weights with an undisturbed run's.

    python benchmarks/kills.py --kills 30 --workers 0 2 --stages train_classification
    python benchmarks/kills.py --kills 30 --workers 0 --stages train_classification --devices 2

On a tiny drawn set, in a temporary copy of the repository, without dvc and git. SIGKILL reaches
the trainer alone, as a user's `kill -9` would. A training is killed up to three times and then
left to end; the sha256 of its published weights must be the undisturbed run's, for any number of
loader workers. With several devices (processes of a training) one of them is killed and torchrun
starts all again.
"""

import argparse
import fcntl
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import orjson
import psutil
import yaml
from rehearsal import copy_project, environment, record_fingerprint, stage_command

from pillsnap.demo.tree import draw_tree
from pillsnap.params import DemoParams

SCALE = "demo"
KILLS_OF_ONE_TRAINING = 3
SPEC = DemoParams(
    classes=8, unknown_classes=2, unknown_twins=1, unknown_photos=18, phone_photos=0,
    photos_per_group=1, combination_folders=8, test_combination_folders=3,
    frame_width_px=244, frame_height_px=320, noise=0.8,
)  # fmt: skip
AT_SCALE = {
    "samples": 120, "classes": 6, "combination_share": 0.3, "val_share": 0.25,
    "min_train_per_class": 5, "min_val_per_class": 1, "test_unknown_pills": 10,
    "detection_single_frames": 8, "evaluation_frames": 12, "crop_px": 48, "frame_px": 96,
    "image_px": 32, "repeats": 2, "detection_px": 96,
}  # fmt: skip
EPOCHS = {"train_classification": 6, "train_detection": 3}
NAMES = {"train_classification": "classification", "train_detection": "detection"}


@dataclass
class Count:
    """What came of one stage with one number of workers."""

    stage: str
    workers: int
    devices: int
    trainings: int = 0
    kills: int = 0
    different: int = 0
    longest_lock_s: float = 0.0  # from a kill until the run's lock could be taken


class Project:
    """The tiny project and how its trainings are run."""

    def __init__(self, folder: Path) -> None:
        tree = folder / "tree"
        draw_tree(tree, SPEC, 1, 1, lambda _done, _total: None)
        changes = {f"scales.{SCALE}.{key}": value for key, value in AT_SCALE.items()}
        root = {f"scales.{SCALE}.root": str(tree.resolve()), "train.batch_size": 16}
        self.path = copy_project(folder / "project", {**changes, **root})
        record_fingerprint(self.path, SCALE, tree)
        for stage in ("build_manifest", "validate"):
            self.finish(stage)

    def configure(self, stage: str, workers: int, devices: int) -> None:
        """Write the numbers of workers, processes and epochs into params.yaml."""
        path = self.path / "params.yaml"
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        tree["train"] |= {"num_workers": workers, "devices": devices, "epochs": EPOCHS[stage]}
        path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")

    def clear(self, stage: str) -> None:
        """Forget what a training left."""
        shutil.rmtree(self.path / ".checkpoints" / stage, ignore_errors=True)
        self._published(stage).unlink(missing_ok=True)
        self._events.unlink(missing_ok=True)

    def start(self, stage: str) -> subprocess.Popen[bytes]:
        """A running stage; its output goes to a file that `finish` shows when it fails."""
        with (self.path / "output.txt").open("wb") as output:
            return subprocess.Popen(
                stage_command(stage), cwd=self.path, env=environment(self.path),
                stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def finish(self, stage: str) -> None:
        """Run a stage to its end."""
        self.end(self.start(stage))

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for a stage that must succeed."""
        if process.wait():
            sys.exit((self.path / "output.txt").read_text())

    def unlocked(self, stage: str) -> float:
        """Seconds until the lock of a killed training is free: its workers may hold it on."""
        begun_s = time.monotonic()
        for path in (self.path / ".checkpoints" / stage).glob("*/lock"):  # none: it had just ended
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
        return time.monotonic() - begun_s

    def begun(self, runs: int) -> bool:
        """Whether a further training loop than `runs` has begun."""
        return len(self._starts()) > runs

    def runs(self) -> int:
        """How many training loops have begun."""
        return len(self._starts())

    def weights_hash(self, stage: str) -> str:
        """sha256 of the published weights."""
        from pillsnap.training import checkpoints  # torch: crashes.py does without

        weights, _ = checkpoints.load_published(self._published(stage))
        return checkpoints.weights_hash(weights)

    @property
    def _events(self) -> Path:
        return self.path / "artifacts" / SCALE / "live" / "events.jsonl"

    def _starts(self) -> list[bytes]:
        if not self._events.exists():
            return []
        whole = self._events.read_bytes().rpartition(b"\n")[0].splitlines()
        return [line for line in whole if orjson.loads(line)["kind"] == "start"]

    def _published(self, stage: str) -> Path:
        name = f"{SCALE}_{NAMES[stage]}_best.pt"
        return self.path / "artifacts" / SCALE / "checkpoints" / name


def undisturbed(project: Project, stage: str, devices: int) -> tuple[str, float]:
    """Hash of the weights and seconds from the loop's begin to the end of the process."""
    project.configure(stage, 0, devices)
    project.clear(stage)
    process = begun(project, stage)
    begun_s = time.monotonic()
    project.end(process)
    return project.weights_hash(stage), time.monotonic() - begun_s


def killed_training(
    project: Project, count: Count, kills: int, seconds: float, chance: random.Random
) -> str:
    """Kill a training up to `kills` times, let it end; hash of its weights."""
    project.configure(count.stage, count.workers, count.devices)
    project.clear(count.stage)
    count.trainings += 1
    if count.devices > 1:
        return killed_ranks(project, count, kills, seconds, chance)
    for _ in range(kills):
        process = begun(project, count.stage)
        try:
            process.wait(chance.uniform(0, seconds))
            break  # it ended before its moment came
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            count.kills += 1
            count.longest_lock_s = max(count.longest_lock_s, project.unlocked(count.stage))
    if process.returncode != 0:
        project.end(begun(project, count.stage))
    return project.weights_hash(count.stage)


def killed_ranks(
    project: Project, count: Count, kills: int, seconds: float, chance: random.Random
) -> str:
    """Kill one process of a training up to `kills` times; hash of its weights."""
    process = begun(project, count.stage)
    for _ in range(kills):
        runs = project.runs()
        time.sleep(chance.uniform(0, seconds))
        ranks = psutil.Process(process.pid).children() if process.poll() is None else []
        if not ranks:
            break  # it ended before its moment came
        chance.choice(ranks).kill()
        count.kills += 1
        while not project.begun(runs) and process.poll() is None:
            time.sleep(0.01)
    project.end(process)
    return project.weights_hash(count.stage)


def begun(project: Project, stage: str) -> subprocess.Popen[bytes]:
    """A training whose loop has begun, or that ended before it could."""
    runs, process = project.runs(), project.start(stage)
    while not project.begun(runs) and process.poll() is None:
        time.sleep(0.01)
    return process


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=30, help="of each training and worker count")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--stages", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--devices", type=int, default=1, help="processes of a training")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    counts: list[Count] = []
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder))
        for stage in asked.stages:
            expected, seconds = undisturbed(project, stage, asked.devices)
            for workers in asked.workers:
                count = Count(stage, workers, asked.devices)
                counts.append(count)
                while count.kills < asked.kills:
                    kills = min(KILLS_OF_ONE_TRAINING, asked.kills - count.kills)
                    found = killed_training(project, count, kills, seconds, chance)
                    count.different += found != expected
                print(f"{count}, undisturbed {expected[:12]} in {seconds:.1f} s", flush=True)
    print("\n| training | workers | kills | trainings | other weights | lock free after, at most |")
    print("|---|---|---|---|---|---|")
    for count in counts:
        figures = f"{count.kills} | {count.trainings} | {count.different}"
        print(f"| {count.stage} | {count.workers} | {figures} | {count.longest_lock_s:.1f} s |")
    sys.exit(any(count.different for count in counts))


if __name__ == "__main__":
    main()
