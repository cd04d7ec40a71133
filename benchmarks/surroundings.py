"""Runs stages and commands where something is short, moves or is killed around them.

    python benchmarks/surroundings.py

On the tiny project of faulted.py: two runs of one stage at once; a clock that is set back between a
kill and the restart; 64 open files; 1 MB of /dev/shm for two loader workers (as root only); the
background monitor's start killed at each of its points; `dvc repro` and `dvc exp run` killed at
points of any of their processes. The final bytes must be the undisturbed run's.
"""

import argparse
import ctypes
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faulted
import psutil
from faulted import KILL_AFTER, KILL_BEFORE, Fault, Project
from rehearsal import ROOT, environment

DAYS_BACK = 3
OPEN_FILES = 64
NEW_NAMESPACE, PRIVATE = 0x00020000, 1 << 18  # of unshare(2) and mount(2), with MS_REC
DVC_TEMPORARY = re.compile(r"/\.[\w-]{22}\.tmp$")
TRIES = 5  # for each kill
DVC = {"repro": ("repro", "validate"), "exp run": ("exp", "run", "validate")}


def twice_at_once(project: Project, target: str) -> str:
    """Two runs of a target at once, then one more where neither succeeded."""
    runs = [project.start(target, None) for _ in range(2)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in runs]
    again = "" if 0 in codes else f", then {project.run(target).code}"
    return f"exit codes {codes[0]} and {codes[1]}{again}"


def clock_back(project: Project, target: str) -> str:
    """Killed in the middle; the restart sees an earlier time."""
    points = len(project.run(target).points)
    project.clear(target)
    project.run(target, Fault(KILL_BEFORE, points // 2, signal.SIGKILL))
    return f"exit code {project.run(target, None, set_clock_back).code}"


def set_clock_back() -> None:
    now = time.time
    time.time = lambda: now() - DAYS_BACK * 86_400


def few_files(project: Project, target: str) -> str:
    """With 64 open files at most."""
    limits = (OPEN_FILES, OPEN_FILES)
    run = project.run(target, None, lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits))
    return f"exit code {run.code}" + run.output[-300:] * bool(run.code)


def little_shared_memory(project: Project, target: str) -> str:
    """With two loader workers and a /dev/shm of 1 MB."""
    params = project.path / "params.yaml"
    text = params.read_text()
    params.write_text(text.replace("num_workers: 0", "num_workers: 2"))
    run = project.run(target, None, shrink_shared_memory)
    params.write_text(text)
    return f"exit code {run.code}" + run.output[-300:] * bool(run.code)


def shrink_shared_memory() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NAMESPACE) or libc.mount(b"none", b"/", None, PRIVATE | 1 << 14, None):
        raise OSError(ctypes.get_errno(), "no mount namespace")
    if libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, b"size=1m"):
        raise OSError(ctypes.get_errno(), "no tmpfs")


CONDITIONS: dict[str, tuple[Callable[[Project, str], str], tuple[str, ...]]] = {
    "two runs at once": (twice_at_once, faulted.TARGETS),
    f"clock set back {DAYS_BACK} days": (clock_back, faulted.TARGETS),
    f"{OPEN_FILES} open files": (few_files, faulted.TARGETS),
    "/dev/shm of 1 MB": (little_shared_memory, ("train_detection", "train_classification")),
}


def conditions(project: Project) -> list[str]:
    """A line of the table for each condition and target; all stages must have run."""
    lines = []
    expected = project.digests()
    pristine = project.path.with_name("pristine")
    shutil.copytree(project.path, pristine)
    for name, (run_under, targets) in CONDITIONS.items():
        for target in targets:
            project.clear(target)
            outcome = run_under(project, target).replace("\n", " ")
            found = project.digests()
            names = sorted({*expected, *found})
            other = [name for name in names if expected.get(name) != found.get(name)]
            lines.append(f"| {name} | {target} | {outcome} | {', '.join(other) or 'the same'} |")
            print(lines[-1], flush=True)
            shutil.rmtree(project.path)  # minutes of a training are part of what evaluate writes
            shutil.copytree(pristine, project.path)
    return lines


def monitor(project: Project) -> list[str]:
    """The background monitor killed at each point of its start, then stopped and started."""
    faulted.COMMANDS["monitor"] = ("--daemon", "--port", "0")
    points, kills, bad = len(project.run("monitor").points), 0, 0
    pillsnap(project, "monitor", "--stop")
    for number in range(2 * points):
        fault = Fault((KILL_BEFORE, KILL_AFTER)[number % 2], number // 2 + 1, signal.SIGKILL)
        kills += project.run("monitor", fault).code == -signal.SIGKILL
        waited_s = time.monotonic() + 30  # a process that was just started records itself
        while pillsnap(project, "monitor", "--stop") or monitors(project):
            if time.monotonic() > waited_s:
                break
        started = pillsnap(project, "monitor", "--daemon", "--port", "0")
        found = pillsnap(project, "monitor", "--status")
        pillsnap(project, "monitor", "--stop")
        bad += bool(started or found or monitors(project))
    return [
        f"| start killed at {kills} of {2 * points} points | monitor | {bad} not started again | |"
    ]


def pillsnap(project: Project, *arguments: str) -> int:
    """The exit code of a command."""
    command = [sys.executable, "-m", "pillsnap.cli", *arguments]
    variables = environment(project.path)
    done = subprocess.run(command, cwd=project.path, env=variables, capture_output=True)
    return done.returncode


def monitors(project: Project) -> list[int]:
    """Process ids of the project's background monitors."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "pillsnap.monitor" in line and process.cwd() == str(project.path):
            found.append(process.pid)
    return found


class DvcProject:
    """The tiny project as a repository of git and DVC."""

    def __init__(self, project: Project) -> None:
        self.path = project.path
        self._log = self.path.with_name("dvc.log")
        for name in (".dvcignore", ".gitignore", ".dvc/.gitignore", ".dvc/config"):
            (self.path / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, self.path / name)
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "tiny"], ["tag", "tiny"]):
            subprocess.run(["git", *command], cwd=self.path, env=self.variables(), check=True)

    def variables(self, **more: str) -> dict[str, str]:
        """The environment of a command."""
        who = {f"GIT_{a}_{b}": "t@t" for a in ("AUTHOR", "COMMITTER") for b in ("NAME", "EMAIL")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**environment(self.path), **who, "PATH": path, **more}

    def run(self, arguments: tuple[str, ...], fault: Fault) -> tuple[int, list[str], str]:
        """Exit code, points and output of dvc; waits for the processes it leaves."""
        self._log.write_bytes(b"")
        faults = f"{fault.action} {fault.point} {fault.number} {self.path} {self._log}"
        done = subprocess.run(
            ["dvc", *arguments], cwd=self.path, env=self.variables(FAULTS=faults), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return done.returncode, self._log.read_text().splitlines(), done.stdout

    def unlock(self) -> None:
        """What a person does after git or DVC was killed: see operation/failures.yaml."""
        for path in [*self.path.glob(".git/**/*.lock"), self.path / ".dvc/tmp/rwlock"]:
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Forget everything that ran."""
        for command in ("reset -q --hard tiny", "clean -fdxq", "stash clear"):
            subprocess.run(["git", *command.split()], cwd=self.path, check=True)
        shutil.rmtree(self.path / ".git/refs/exps", ignore_errors=True)

    def digests(self) -> dict[str, str]:
        """Every out, and dvc.lock; not the temporary files that a killed dvc leaves."""
        own = ("artifacts/", "data/", "dvc.lock")
        found = Project(self.path).digests().items()
        return {k: v for k, v in found if k.startswith(own) and not DVC_TEMPORARY.search(k)}


def dvc(project: Project, cases: int, chance: random.Random) -> list[str]:
    """dvc killed at points of dvc and its stages, then repeated."""
    repository, lines = DvcProject(project), []
    for name, arguments in DVC.items():
        repository.clear()
        code, points, output = repository.run(arguments, Fault(faulted.COUNT, 0, 0))
        if code:
            sys.exit(output)
        expected, kills, bad = repository.digests(), 0, []
        for _ in range(TRIES * cases):  # every process counts its own points: some have fewer
            number = faulted.pick(points, chance)
            repository.clear()
            action = chance.choice((KILL_BEFORE, KILL_AFTER))
            _, met, _ = repository.run(arguments, Fault(action, number + 1, signal.SIGKILL))
            repository.unlock()
            if not (hit := [line for line in met if line.startswith("!")]):
                continue
            code, _, output = repository.run(arguments, Fault(faulted.COUNT, 0, 0))
            if code or repository.digests() != expected:
                bad.append(f"{hit} then {code}: {output[-500:]}")
            kills += 1
            if kills == cases:
                break
        print("\n".join(bad))
        outcome = f"{len(bad)} with other bytes"
        lines.append(f"| dvc {name}: {kills} kills | build_manifest, validate | {outcome} | |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", default=["conditions", "monitor", "dvc"])
    parser.add_argument("--cases", type=int, default=10, help="of each dvc command")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if "LD_PRELOAD" not in os.environ:
            sys.exit(faulted.with_faults([sys.executable, *sys.argv], Path(folder)))
        os.chdir(folder)
        project = faulted.build(Path(folder).resolve())
        lines = []
        if "dvc" in asked.parts:
            lines += dvc(project, asked.cases, random.Random(1))
        faulted.import_for(faulted.TARGETS)
        if "conditions" in asked.parts:
            for target in (*faulted.TARGETS, "export"):  # with the gallery
                project.run(target)
            lines += conditions(project)
        if "monitor" in asked.parts:
            lines += monitor(project)
    print("\n| condition | run | outcome | bytes |\n|---|---|---|---|", *lines, sep="\n")


if __name__ == "__main__":
    main()
