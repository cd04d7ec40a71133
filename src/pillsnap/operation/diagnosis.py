"""From an exit code and the last lines of a log to what happened, why, and what helps."""

import os
import re
import resource
import shutil
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path

import orjson
import psutil
from rich.console import Group
from rich.text import Text

from pillsnap import files
from pillsnap.operation.point import gb
from pillsnap.params import DATA_ROOT_VARIABLE, Params
from pillsnap.places import STAGES
from pillsnap.stage.hardware import GpuReader, memory_bytes

TABLE = Path(__file__).with_name("failures.yaml")
LAST_LINES = 15

# Of Python and Ultralytics: they did not end the run
WARNINGS = re.compile(r"^.*\b\w*Warning: .*$|^WARNING \u26a0.*$", re.MULTILINE)
REFUSAL = re.compile(
    rf"^(?:{'|'.join(STAGES)}|pillsnap): (?P<fact>.+?)\n"
    r"  -> (?P<cure>.+?)(?=\n[ \t]*\n|\nERROR|\Z)",
    re.MULTILINE | re.DOTALL,
)
EXITED = re.compile(r"exited with (-?\d+)")

Facts = dict[str, str]  # values of the run and the machine, ready for a sentence


@dataclass(frozen=True)
class Known:
    """A kind of failure as failures.yaml describes it; {names} in its texts are keys of `gather`
    or groups of a pattern."""

    patterns: tuple[str, ...]
    fact: str
    cause: str
    cures: tuple[str, ...]
    codes: tuple[int, ...] = ()  # exit codes that mean it without any text
    examples: tuple[str, ...] = ()

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Any of the patterns."""
        return re.compile("|".join(self.patterns), re.IGNORECASE | re.MULTILINE)


@cache
def known_failures() -> dict[str, Known]:
    """The known failures by kind; the first that matches counts."""
    cure = "Install PillSnap again: pip install -e ."
    return files.typed(files.read_yaml(TABLE, cure), dict[str, Known], TABLE, cure)


@dataclass(frozen=True)
class Diagnosis:
    """What happened, the likely cause ("" where the fact is enough), and commands that help."""

    kind: str
    fact: str
    cause: str
    cures: tuple[str, ...]


def explain(exit_code: int, text: str, facts: Facts) -> Diagnosis:
    """The failure behind a run's exit code and its last lines, in which a stage's own refusal keeps
    its words. `kind` may also be "refused" (by a stage, not in the table) or "unknown"."""
    text = text.replace("\r", "\n")
    refusals = list(REFUSAL.finditer(text))
    if refusals:
        fact, cure = refusals[-1]["fact"].strip(), refusals[-1]["cure"].strip()
        kind, _ = _recognise(None, fact)
        return Diagnosis(kind or "refused", fact, "", (cure,))
    exited = EXITED.findall(text)
    code = int(exited[-1]) if exited else exit_code
    kind, groups = _recognise(code, WARNINGS.sub("", text))
    if not kind:
        last = [line for line in text.splitlines() if line.strip()][-LAST_LINES:] or ["(none)"]
        return Diagnosis(
            "unknown",
            f"The run ended with exit code {exit_code}.",
            "\n".join(("This failure is not one of the known ones. The last lines:", *last)),
            (f"less {facts['log_path']}  # the whole log", "pillsnap train --log-level DEBUG"),
        )
    path = groups.get("path", "")
    if kind == "dvc_dependency" and path and Path(path).is_relative_to(facts["data_root"]):
        kind = "data_root"
    known, words = known_failures()[kind], defaultdict(str, {**facts, **groups})
    texts = (known.fact, known.cause, *known.cures)
    fact, cause, *cures = (text.format_map(words).rstrip() for text in texts)
    return Diagnosis(kind, fact, cause, tuple(cures))


def gather(params: Params, log_path: Path) -> Facts:
    """The facts of this machine and run, now; asks neither torch nor the network."""
    train, scale, shm = params.train, params.at_scale, Path("/dev/shm")
    root = os.environ.get(DATA_ROOT_VARIABLE) or params.data.root or scale.root
    return {
        "scale": params.scale,
        "batch_size": str(params.batch_size),
        "half_batch_size": str(max(2, params.batch_size // 2)),
        "detection_batch_size": str(train.detection_batch_size),
        "half_detection_batch_size": str(max(1, train.detection_batch_size // 2)),
        "detection_px": str(scale.detection_px),
        "lr": f"{params.lr:g}",
        "tenth_lr": f"{params.lr / 10:g}",
        "detection_lr": f"{params.detection_lr:g}",
        "num_workers": str(train.num_workers),
        "data_root": root or "(unset)",
        "disk": _free(Path()),
        "tmp_disk": _free(Path(tempfile.gettempdir())),
        "tmp_dir": tempfile.gettempdir(),
        "ram": " of ".join(map(gb, reversed(memory_bytes()))),
        "shared_memory": _free(shm) if shm.is_dir() else "absent",
        "open_files": str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        "gpu": _gpu(),
        "torch": metadata.version("torch"),
        "user": psutil.Process().username(),
        "log_path": str(log_path),
    }


def render(diagnosis: Diagnosis) -> Group:
    """The texts for the terminal."""
    lines = [Text(diagnosis.fact, style="bold red"), Text(diagnosis.cause)]
    lines += [Text("  -> ", style="bold").append(cure, style="cyan") for cure in diagnosis.cures]
    return Group(*(line for line in lines if line))


def record(diagnosis: Diagnosis, events_path: Path, since_s: float) -> None:
    """Append a failure event for the monitor, on behalf of the stage run that wrote last, unless it
    has ended, has reported the same failure, or wrote before `since_s` (unix seconds)."""
    with suppress(OSError, ValueError, KeyError, TypeError, IndexError):  # no run, or a cut line
        last = orjson.loads(events_path.read_bytes().splitlines()[-1])
        if last["kind"] == "end" or last["time"] < since_s or last["message"] == diagnosis.fact:
            return
        failure = {"kind": "failure", "level": "ERROR", "metrics": {}, "message": diagnosis.fact}
        texts = {"cause": diagnosis.cause, "cures": diagnosis.cures}
        event = {**last, **failure, **texts, "time": round(time.time(), 3)}
        with events_path.open("ab", buffering=0) as file:
            file.write(files.json_bytes(event, orjson.OPT_APPEND_NEWLINE))


def _recognise(code: int | None, text: str) -> tuple[str, dict[str, str]]:
    """The first kind of which a pattern is in the text, or the exit code ("" if none); what the
    pattern captured, the group `other` as `path`."""
    for kind, known in known_failures().items():
        found = known.pattern.search(text)
        if found:
            groups = {name: value for name, value in found.groupdict().items() if value}
            return kind, {"path": groups.get("other", ""), **groups}
    return next((kind for kind, known in known_failures().items() if code in known.codes), ""), {}


def _free(path: Path) -> str:
    usage = shutil.disk_usage(path)
    return f"{gb(usage.free)} of {gb(usage.total)}"


def _gpu() -> str:
    sample = GpuReader().read()
    if not sample:
        return "none is visible"
    used, total = (float(sample[f"gpu_memory_{name}_mb"]) / 1024 for name in ("used", "total"))
    return f"{sample['gpu_name']}, {used:.1f} of {total:.1f} GB in use now"
