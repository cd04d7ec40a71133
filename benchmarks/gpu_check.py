"""The GPU check: every way through the code that needs CUDA, once, and what the trainings cost.

    python3 benchmarks/gpu_check.py --out gpu_check --revision "$(git rev-parse HEAD)"
    python3 benchmarks/gpu_check.py --small --device cpu    # on any machine, a minute or two

Run it in the repository's root with src on PYTHONPATH; it takes 8.5 minutes at most (--minutes).
Sections are processes of their own with a time limit each: one that fails or hangs is recorded, and
the others go on. Results are in OUT/gpu_check.json and, for docs/lab-log.md, OUT/gpu_check.md,
written anew while it runs. dvc and git are not needed, pillsnap need not be installed.

docs/performance.md says which wheels a machine without network needs (section "GPU check").
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
NAME = "gpu_check"
CLOSING_S = 8.0  # kept for the report
LEAST_S = 10.0  # that a section is begun with
SLOWER = 3  # the small run's limits: a busy CPU may do it
STOPPING_S = 20.0  # for the drawing, to keep what it has
GRACE_S = 4.0  # of a section, between SIGTERM and SIGKILL
LOG_BYTES = 200_000  # kept of each section's output

Facts = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """Checks that run in one process, `checks` being a tuple in `module`."""

    name: str
    module: str
    checks: str
    budget_s: float
    on_gpu_only: bool = False


TOGETHER = (  # the first ones, side by side: no times are taken
    Section("machine", "gpu_paths", "MACHINE", 120),
    Section("steps", "gpu_paths", "STEPS", 150, True),
    Section("trainings", "gpu_paths", "TRAININGS", 180),
    Section("trainings, compiled", "gpu_paths", "COMPILED", 185, True),
)
AHEAD = (  # compile meanwhile what is timed later; ended with the others
    Section("compiling 1", "gpu_speed", "AHEAD_ODD", 150, True),
    Section("compiling 2", "gpu_speed", "AHEAD_EVEN", 150, True),
)
AHEAD_NAMES = {section.name for section in AHEAD}
AHEAD_S = 125.0  # for which they are waited for
ONE_BY_ONE = (
    Section("speed", "gpu_speed", "SPEED", 140),
    Section("stage 3", "gpu_stage3", "STAGE3", 100),
    Section("detector and input", "gpu_speed", "DETECTOR_AND_INPUT", 65),
    Section("more speed", "gpu_speed", "MORE_SPEED", 400, True),
)
SECTIONS = (*TOGETHER, *AHEAD, *ONE_BY_ONE)


class Run:
    """The sections of one run, their processes and results."""

    def __init__(self, asked: argparse.Namespace, work: Path) -> None:
        self.asked, self.work = asked, work
        self.begun_s = time.time()
        self.until_s = self.begun_s + 60 * asked.minutes - CLOSING_S
        self.date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        self._found: dict[str, Facts] = {}
        self._processes: dict[str, Process] = {}
        self._drawing: Process | None = None
        self._told: set[tuple[str, str]] = set()
        self._kept: dict[str, Facts] = {}

    def start(self, section: Section) -> "Process | None":
        """A section's process; None where it is left out."""
        budget_s = section.budget_s * (SLOWER if self.asked.small else 1)
        until_s = min(self.until_s, time.time() + budget_s)
        no_gpu = section.on_gpu_only and self.asked.device == "cpu"
        if no_gpu or until_s - time.time() < LEAST_S:
            reason = "no CUDA device is used" if no_gpu else "no time was left"
            self._found[section.name] = {"reason": reason, "checks": []}
            return None
        words = ["--section", section.name, "--until", str(until_s), "--work", str(self.work)]
        small = ["--small"] if self.asked.small else []
        command = [sys.executable, __file__, *words, "--device", self.asked.device, *small]
        process = Process(section.name, command, until_s, self.work)
        self._processes[section.name] = process
        return process

    def together(self) -> None:
        """The sections in which no times are taken, while crops are drawn and graphs compiled."""
        drawing = self.draw()
        waited = [process for section in TOGETHER if (process := self.start(section))]
        ahead = [process for section in AHEAD if (process := self.start(section))]
        while running(waited) or (running(ahead) and time.time() < self.begun_s + AHEAD_S):
            time.sleep(0.2)
            self.gather()
        for process in ahead:
            process.end()
        (self.work / "crops" / "stop").touch()
        drawing.limit(STOPPING_S)
        while drawing.runs():
            time.sleep(0.1)
        self.take_drawing()
        self.gather()

    def draw(self) -> "Process":
        """The drawing of crops, which goes on until it is stopped."""
        sizes = ["--classes", "4", "--per-class", "20", "--crop-px", "48", "--num-workers", "1"]
        script, folder = ROOT / "benchmarks/drawn_crops.py", self.work / "crops"
        folder.mkdir()
        small = sizes if self.asked.small else []
        command = [sys.executable, str(script), str(folder), *small]
        self._drawing = process = Process("drawing", command, self.until_s, self.work)
        return process

    def take_drawing(self) -> None:
        """Tell whether there are crops."""
        whole = (self.work / "crops" / "val.arrow").exists()
        said = _tail(self.work / "drawing.log").strip()[-1500:]
        check = {"name": "draw crops", "status": "ok" if whole else "failed",
                 "reason": "" if whole else said, "facts": {"said": said[-100:]} if whole else {},
                 "seconds": round(time.time() - self.begun_s, 1)}  # fmt: skip
        self._found["drawing"] = {"checks": [check]}

    def one_by_one(self) -> None:
        """The sections in which times are taken."""
        for section in ONE_BY_ONE:
            if process := self.start(section):
                while process.runs():
                    time.sleep(0.2)
                    self.gather()
            self.gather()

    @property
    def sections(self) -> dict[str, Facts]:
        """What was found so far, in order."""
        names = ["drawing", *(section.name for section in SECTIONS)]
        return {name: self._found[name] for name in names if name in self._found}

    def gather(self) -> None:
        """Take in what the sections have found so far, tell of it and keep it."""
        for name, process in self._processes.items():
            path = self.work / f"{name}.json"
            if path.exists():
                self._found[name] = json.loads(path.read_bytes())
            elif process.ended and name not in self._found:
                said = _tail(self.work / f"{name}.log")[-1500:]
                died = {"name": "start", "status": "failed", "reason": said}
                self._found[name] = {"checks": [died]}
            if process.ended:
                self._close(name)
        if self.sections == self._kept:
            return
        self._kept = deepcopy(self.sections)
        self.keep()
        for name, found in self.sections.items():
            for check in found["checks"]:
                if "seconds" in check and (name, check["name"]) not in self._told:
                    self._told.add((name, check["name"]))
                    self.tell(name, check)

    def _close(self, name: str) -> None:
        """What the end of its process says about a check that did not end."""
        for check in self._found[name]["checks"]:
            if "seconds" not in check and check["status"] == "failed":
                check["seconds"] = 0.0
                if name in AHEAD_NAMES:
                    check |= {"status": "ok", "reason": "cut off, as it is meant to be"}

    def tell(self, section: str, check: Facts) -> None:
        """A line about a check that is over."""
        reason = f": {check['reason']}" if check["reason"] else ""
        print(f"{time.time() - self.begun_s:4.0f} s  {check['status']:7}  {section}, "
              f"{check['name']} ({check['seconds']:.0f} s){reason}", flush=True)  # fmt: skip

    def end(self) -> None:
        """End whatever runs."""
        for process in (*self._processes.values(), *filter(None, [self._drawing])):
            process.end()

    def keep(self) -> None:
        """Write the results."""
        facts = six_facts(self)
        out = self.asked.out
        _replace(out / f"{NAME}.json", json.dumps({**facts, "sections": self.sections}, indent=1))
        _replace(out / f"{NAME}.md", markdown(facts, self.sections))
        logs = sorted(self.work.glob("*.log"))
        parts = [f"== {log.stem}\n{_tail(log)}" for log in logs]
        _replace(out / f"{NAME}.log", "\n".join(parts))


class Process:
    """A section's process, in a group of its own so that nothing outlives it."""

    def __init__(self, name: str, command: list[str], until_s: float, work: Path) -> None:
        self._until_s, self._asked_to_end_s = until_s, 0.0
        with (work / f"{name}.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, process_group=0
            )

    def runs(self) -> bool:
        """Whether it still runs; asks it to end when its time is over, then ends it."""
        if self._process.poll() is not None:
            self._signal(signal.SIGKILL)  # what it left behind
            return False
        if time.time() > self._until_s and not self._asked_to_end_s:
            self._asked_to_end_s = time.time()
            self._process.terminate()
        if self._asked_to_end_s and time.time() > self._asked_to_end_s + GRACE_S:
            self._signal(signal.SIGKILL)
            self._process.wait()
        return True

    def limit(self, seconds: float) -> None:
        """Leave it so much longer."""
        self._until_s = time.time() + seconds

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self._process.poll() is not None

    def end(self) -> None:
        """End it now."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def running(processes: Sequence[Process]) -> int:
    """How many of them still run; each is held to its time."""
    return sum(process.runs() for process in processes)


def six_facts(run: Run) -> Facts:
    """Revision, hardware, configuration, command, result, date."""
    checks = run.sections.get("machine", {}).get("checks", [])
    machine: Facts = next((check["facts"] for check in checks if "facts" in check), {})
    statuses = [check["status"] for found in run.sections.values() for check in found["checks"]]
    counts = ", ".join(f"{statuses.count(word)} {word}" for word in ("ok", "failed", "skipped"))
    size = "small sizes" if run.asked.small else "full sizes"
    return {
        "revision": run.asked.revision,
        "hardware": machine,
        "configuration": f"{size}, device {run.asked.device}, params.yaml of the revision, stage3",
        "command": run.asked.command,
        "result": f"{counts}, in {(time.time() - run.begun_s) / 60:.1f} min",
        "date": run.date,
    }


def markdown(facts: Facts, sections: dict[str, Facts]) -> str:
    """The report."""
    lines = [f"## GPU check, {facts['date'][:10]}", ""]
    for name, value in facts.items():
        shown = value if isinstance(value, str) else _listed(value)
        lines.append(f"- {name}: {shown}")
    for name, found in sections.items():
        lines += ["", f"### {name[0].upper()}{name[1:]}", ""]
        if "reason" in found:
            lines.append(f"Not run: {found['reason']}.")
        for check in found["checks"]:
            last = check.get("reason", "").strip().splitlines()[-1:]
            end = f": {last[0]}" if last else ""
            seconds = f" ({check['seconds']} s)" if "seconds" in check else ""
            lines.append(f"**{check['name']}**: {check['status']}{seconds}{end}")
            if check.get("facts") and check["name"] != "machine":
                lines += ["", _listed(check["facts"])]
            if check.get("rows"):
                lines += ["", *_table(check["rows"])]
            lines.append("")
    return "\n".join(lines) + "\n"


def _listed(facts: Facts) -> str:
    return ", ".join(f"{name} {_shown(value)}" for name, value in facts.items())


def _table(rows: Sequence[Facts]) -> list[str]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    body = ["| " + " | ".join(_shown(row.get(name)) for name in names) + " |" for row in rows]
    return ["| " + " | ".join(names) + " |", "|" + "---|" * len(names), *body]


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, list):
        return " ".join(_shown(one) for one in value)
    return "-" if value is None else " ".join(str(value).split()).replace("|", "/")


def _tail(path: Path) -> str:
    return path.read_bytes()[-LOG_BYTES:].decode("utf-8", "replace")


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def run_section(asked: argparse.Namespace) -> None:
    """Run one section in this process."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.chdir(asked.work)  # in the repository dvclive would look for dvc's files, and for git's
    from gpu_sections import Asked, run_checks

    from pillsnap.training import devices

    section = next(s for s in SECTIONS if s.name == asked.section)
    checks = getattr(import_module(section.module), section.checks)
    here = Asked(asked.work, devices.choose(asked.device), asked.small, asked.until)
    run_checks(here, asked.work / f"{section.name}.json", checks)


def seen_device() -> str:
    """cuda where a driver is, without loading torch."""
    names = ("/dev/nvidiactl", "/dev/nvidia0", "/proc/driver/nvidia/version")
    return "cuda" if any(Path(name).exists() for name in names) else "cpu"


def revision() -> str:
    """The commit that is checked out here, where git can tell."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:  # no git here
        return "unknown"
    return done.stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="folder of the results; else a temporary one")
    parser.add_argument("--minutes", type=float, default=8.5, help="after which it is over")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--small", action="store_true", help="tiny sizes; always so on a CPU")
    parser.add_argument("--revision", default="", help="of the code; else git is asked")
    parser.add_argument("--section", help=argparse.SUPPRESS)  # these three are for its own use
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.section:
        run_section(asked)
        return
    asked.command = " ".join(["python3", "benchmarks/gpu_check.py", *sys.argv[1:]])
    asked.revision = asked.revision or revision()
    asked.device = seen_device() if asked.device == "auto" else asked.device
    asked.small |= asked.device == "cpu"
    asked.out = (asked.out or Path(tempfile.mkdtemp(prefix=f"{NAME}_"))).resolve()
    asked.out.mkdir(parents=True, exist_ok=True)
    paths = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    paths = [str(Path(part).resolve()) for part in [*paths, str(ROOT / "src")]]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)  # sections work in another folder
    if asked.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # for the stages too
    with tempfile.TemporaryDirectory(prefix=f"{NAME}_work_", ignore_cleanup_errors=True) as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/inductor"  # nothing compiled before
        run = Run(asked, Path(folder))
        try:
            run.together()
            run.one_by_one()
        finally:
            run.end()
            run.keep()
        print((asked.out / f"{NAME}.md").read_text(encoding="utf-8"))
        print(f"results in {asked.out}")


if __name__ == "__main__":
    main()
