"""Kills every stage and command at named points, fails its writes, and compares its final bytes.

    python benchmarks/crashes.py
    python benchmarks/crashes.py --targets build_manifest validate --kills 6 --failures 4

On a tiny drawn set, in copies of the project. A run is killed before, in the middle of (half of the
bytes) or after a point, or a point fails: with EIO once, or with ENOSPC from there on. After up to
three faults in a row the same command runs without one, and every file must be the undisturbed
run's; so must they whenever a run succeeds in spite of a fault.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from errno import EIO, ENOSPC
from pathlib import Path

import faulted
import orjson
from faulted import MODES, TARGETS, Fault, Project, Run, name_of, pick
from rehearsal import environment

FAULTS = ("SIGKILL before", "SIGKILL within", "SIGKILL after", "SIGTERM before", "SIGTERM after",
          "EIO once", "ENOSPC on", "ENOSPC, cut")  # fmt: skip
KILLS = {"build_manifest": 340, "validate": 220, "train_detection": 60,
         "train_classification": 170, "evaluate": 70, "export": 60, "enroll": 110}  # fmt: skip
FAILURES = {"build_manifest": 90, "validate": 70, "train_detection": 25,
            "train_classification": 50, "evaluate": 30, "export": 25, "enroll": 40}  # fmt: skip
IN_A_ROW = 3  # faults, then the run that must succeed
WITHIN_SHARE = 0.4  # of the kills at a write
PROGRAM = "import sys, faulted; sys.exit(faulted.started(sys.argv[1]))"


@dataclass(frozen=True)
class Row:
    """A fault that was met, or (without a fault) a case that ended wrong."""

    target: str
    fault: str
    point: str
    wrong: list[str]


def fault_at(points: Sequence[str], kills: bool, chance: random.Random) -> Fault:
    """A fault at a point whose name is as likely as every other."""
    number = pick(points, chance)
    writes = "write" in points[number].split()[0]
    if not kills:
        action = chance.choice([faulted.FAIL_ONCE, faulted.FAIL_ON, *[faulted.CUT] * writes])
        return Fault(action, number + 1, EIO if action == faulted.FAIL_ONCE else ENOSPC)
    if writes and chance.random() < WITHIN_SHARE:
        return Fault(faulted.KILL_WITHIN, number + 1, signal.SIGKILL)
    action = chance.choice((faulted.KILL_BEFORE, faulted.KILL_AFTER))
    return Fault(
        action, number + 1, chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))
    )


def campaign(
    project: Project, target: str, points: Sequence[str], wanted: dict[bool, int], seed: int
) -> list[Row]:
    """A row per fault that was met, until there are the kills and failures that are wanted; `wrong`
    says what of it is not as promised, or of the bytes after it."""
    chance, expected = random.Random(seed), project.digests()
    pristine = project.path.with_name(f"{project.path.name}.pristine")
    shutil.copytree(project.path, pristine)
    rows: list[Row] = []
    met: list[str] = []  # since the last run that succeeded
    resumed = points
    project.clear(target)
    while any(wanted.values()):
        kills = chance.choice([kind for kind, count in wanted.items() for _ in range(count)])
        fault = fault_at(resumed if met else points, kills, chance)
        run = project.run(target, fault)
        if run.hit:
            wanted[kills] -= 1
            met.append(f"{fault.name} {run.hit}: exit code {run.code}")
            rows.append(Row(target, fault.name, name_of(run.hit), unlike(target, fault, run)))
        if run.code and (len(met) == IN_A_ROW or not any(wanted.values())):
            run = project.run(target)
            resumed = run.points
        elif run.code:
            continue
        different = unequal(expected, project.digests())
        if fault.action not in MODES and different and not expected.keys() & {*different}:
            run = project.run(target)  # removes what this one could not delete
            different = unequal(expected, project.digests())
        if different or run.code:
            rows.append(Row(target, "", "", [*met, *different, run.output[-2000:]]))
            shutil.rmtree(project.path)
            shutil.copytree(pristine, project.path)
        project.clear(target)
        met = []
    return rows


def unequal(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """The files that are not there, are there in addition, or have other bytes."""
    names = {*expected, *found}
    return sorted(name for name in names if expected.get(name) != found.get(name))


def unlike(target: str, fault: Fault, run: Run) -> list[str]:
    """What of the end of a run that met a fault is not as promised."""
    codes = {-signal.SIGKILL} if fault.number == signal.SIGKILL else {0, 130}
    if fault.number == signal.SIGTERM and target not in faulted.OUTS:
        codes = {-signal.SIGTERM}  # a command has nothing to save
    if fault.action not in MODES:
        codes = {0, 1}  # 0 where the file does not matter, as events.jsonl
    if run.code in codes and "Traceback" not in run.output:
        return []
    return [f"{fault.name} {run.hit}: exit code {run.code}", run.output[-3000:]]


def in_workers(
    project: Project, target: str, points: Sequence[str], faults: dict[bool, int], workers: int
) -> list[Row]:
    """The rows of `campaign`, run in several processes with a copy of the project each."""
    children = []
    for number in range(workers):
        folder = project.path.with_name(f"{target}{number}")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                copy = Project(folder / "project")
                shutil.copytree(project.path, copy.path)
                part = {kind: len(range(number, count, workers)) for kind, count in faults.items()}
                rows = campaign(copy, target, points, part, number)
                (folder / "rows.json").write_bytes(orjson.dumps(rows))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        children.append((child, folder))
    statuses = [os.waitpid(child, 0)[1] for child, _ in children]
    if any(statuses):
        sys.exit(f"{target}: the campaign failed")
    rows = [
        Row(**row)
        for _, path in children
        for row in orjson.loads((path / "rows.json").read_bytes())
    ]
    for _, path in children:
        shutil.rmtree(path)
    return rows


def undisturbed(project: Project, target: str) -> list[str]:
    """Run a target as a program and forked; both must write the same bytes. The fork's points."""
    command, here = [sys.executable, "-c", PROGRAM, target], str(Path(__file__).parent)
    variables = environment(project.path)
    variables["PYTHONPATH"] += os.pathsep + here
    done = subprocess.run(command, cwd=project.path, env=variables, stderr=subprocess.PIPE)
    plain = project.digests()
    project.clear(target)
    run = project.run(target)
    if done.returncode or run.code or project.digests() != plain:
        sys.exit(
            f"{target} does not write the same bytes twice\n{done.stderr.decode()}\n{run.output}"
        )
    return run.points


def report(rows: Sequence[Row], points: dict[str, list[str]]) -> None:
    """Print the tables."""
    print(f"\n| run | points | names | {' | '.join(FAULTS)} | wrong |")
    print("|---" * (len(FAULTS) + 4) + "|")
    for target in [*dict.fromkeys(row.target for row in rows), "together"]:
        own = [row for row in rows if target in (row.target, "together")]
        counts = Counter(row.fault for row in own)
        found = [point for name in points if target in (name, "together") for point in points[name]]
        numbers = [len(found), len(set(map(name_of, found))), *(counts[name] for name in FAULTS)]
        numbers.append(sum(bool(row.wrong) for row in own))
        print(f"| {target} | {' | '.join(map(str, numbers))} |")
    by_point = Counter(
        (row.point.split()[0], row.fault.startswith("SIG")) for row in rows if row.point
    )
    print("\n| point | kills | failures |\n|---|---|---|")
    for operation in sorted({name for name, _ in by_point}):
        print(f"| {operation} | {by_point[operation, True]} | {by_point[operation, False]} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS)
    parser.add_argument("--kills", type=int, help="of each target")
    parser.add_argument("--failures", type=int, help="of each target")
    parser.add_argument("--workers", type=int, default=2, help="runs at once")
    asked = parser.parse_args()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # where fsync costs nothing
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        if "LD_PRELOAD" not in os.environ:
            sys.exit(faulted.with_faults([sys.executable, *sys.argv], Path(folder)))
        os.chdir(folder)
        project = faulted.build(Path(folder).resolve())
        wanted = TARGETS[: 1 + max(map(TARGETS.index, asked.targets))]
        faulted.import_for(wanted)
        points, rows = {}, []
        for target in wanted:
            begun_s, points[target] = time.monotonic(), undisturbed(project, target)
            if target not in asked.targets:
                continue
            kills = KILLS[target] if asked.kills is None else asked.kills
            failures = FAILURES[target] if asked.failures is None else asked.failures
            faults = {True: kills, False: failures}
            own = in_workers(project, target, points[target], faults, asked.workers)
            for wrong in filter(None, (row.wrong for row in own)):
                print("WRONG", target, *wrong, "", sep="\n")
            rows += own
            print(f"{target}: {time.monotonic() - begun_s:.0f} s", flush=True)
        report(rows, points)
        sys.exit(any(row.wrong for row in rows))


if __name__ == "__main__":
    main()
