"""From an exit code and the last lines of a log to what happened, why, and what helps."""

import os
import re
import resource
import shutil
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import orjson
import psutil
from rich.console import Group
from rich.text import Text

from pillsnap.operation.known import Known
from pillsnap.operation.known_dvc_failures import DVC
from pillsnap.operation.known_failures import INPUTS, MACHINE
from pillsnap.params import DATA_ROOT_VARIABLE, Params
from pillsnap.places import STAGES
from pillsnap.stage.hardware import GpuReader, memory_bytes

TABLE = MACHINE + INPUTS + DVC  # the first entry that matches counts
LAST_LINES = 15

# Warnings of Python and Ultralytics, after which the run went on. Log lines of stages are events,
# not in the text.
WARNINGS = re.compile(r"^.*\b\w*Warning: .*$|^WARNING \u26a0.*$", re.MULTILINE)
REFUSAL = re.compile(
    rf"^(?:{'|'.join(STAGES)}|pillsnap): (?P<fact>.+?)\n"
    r"  -> (?P<cure>.+?)(?=\n[ \t]*\n|\nERROR|\Z)",
    re.MULTILINE | re.DOTALL,
)
EXITED = re.compile(r"exited with (-?\d+)")
STAGE = re.compile(r"Running stage '(?:[^':]*:)?(\w+)'|failed to reproduce '(?:[^':]*:)?(\w+)'")


@dataclass(frozen=True)
class Facts:
    """The figures at hand when something failed, in words ready for a sentence."""

    scale: str
    batch_size: int
    detection_batch_size: int
    detection_px: int
    lr: float
    detection_lr: float
    num_workers: str
    data_root: str
    disk: str
    tmp_disk: str
    tmp_dir: str
    ram: str
    shared_memory: str
    open_files: str
    gpu: str
    torch: str
    user: str
    log_path: str


@dataclass(frozen=True)
class Diagnosis:
    """What happened, the likely cause ("" where the fact says it all), and commands that help."""

    kind: str
    fact: str
    cause: str
    cures: tuple[str, ...]


def explain(exit_code: int | None, text: str, facts: Facts) -> Diagnosis:
    """The failure behind a run's exit code and its last lines.

    A refusal of ours keeps its words. `kind` is "refused" for one that the table does not know,
    "unknown" where nothing was recognised.
    """
    text = text.replace("\r", "\n")
    told = list(EXITED.finditer(text))
    code = int(told[-1][1]) if told else exit_code
    said = WARNINGS.sub("", text)
    refusals = list(REFUSAL.finditer(text))
    if refusals:
        fact, cure = refusals[-1]["fact"].strip(), refusals[-1]["cure"].strip()
        known, _ = _recognise(None, fact)
        return Diagnosis(known.kind if known else "refused", fact, "", (cure,))
    known, found = _recognise(code, said)
    if known and known.kind == "dvc_dependency" and _under_data_root(found, facts):
        known = _of_kind("data_root")
    if known is None:
        return _unknown(exit_code, text, facts)
    words = _words(facts, text, found)
    return Diagnosis(
        known.kind,
        known.fact.format_map(words),
        known.cause.format_map(words),
        tuple(cure.format_map(words) for cure in known.cures),
    )


def gather(params: Params, log_path: Path) -> Facts:
    """The figures of this machine and run, now; asks neither torch nor the network."""
    shm = Path("/dev/shm")
    return Facts(
        scale=params.scale,
        batch_size=params.batch_size,
        detection_batch_size=params.train.detection_batch_size,
        detection_px=params.at_scale.detection_px,
        lr=params.lr,
        detection_lr=params.detection_lr,
        num_workers=str(params.train.num_workers),
        data_root=os.environ.get(DATA_ROOT_VARIABLE)
        or params.data.root
        or params.at_scale.root
        or "(unset)",
        disk=_free(Path()),
        tmp_disk=_free(Path(tempfile.gettempdir())),
        tmp_dir=tempfile.gettempdir(),
        ram=" of ".join(_gb(count) for count in reversed(memory_bytes())),
        shared_memory=_free(shm) if shm.is_dir() else "absent",
        open_files=str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        gpu=_gpu(),
        torch=metadata.version("torch"),
        user=psutil.Process().username(),
        log_path=str(log_path),
    )


def render(diagnosis: Diagnosis) -> Group:
    """What happened, why, and the cures, for the terminal."""
    lines = [Text(diagnosis.fact, style="bold red")]
    if diagnosis.cause:
        lines.append(Text(diagnosis.cause))
    lines += [Text("  -> ", style="bold").append(cure, style="cyan") for cure in diagnosis.cures]
    return Group(*lines)


def record(diagnosis: Diagnosis, events_path: Path, since_s: float) -> None:
    """Tell the monitor: a failure event for the run that wrote last.

    Not for one that has ended, has said the same, or wrote before `since_s` (unix seconds).
    """
    try:
        last = orjson.loads(_last_line(events_path))
        if last["kind"] == "end" or last["time"] < since_s or last["message"] == diagnosis.fact:
            return
    except (OSError, ValueError, KeyError, TypeError):
        return  # no run has spoken yet, or its last line is cut: there is nobody to speak for
    event = {
        **last,
        "time": round(time.time(), 3),
        "kind": "failure",
        "message": diagnosis.fact,
        "level": "ERROR",
        "metrics": {},
        "cause": diagnosis.cause,
        "cures": list(diagnosis.cures),
    }
    with events_path.open("ab", buffering=0) as file:
        file.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))


def stage_of(text: str) -> str:
    """The stage that the log was in last; "" before the first."""
    found = list(STAGE.finditer(text))
    return (found[-1][1] or found[-1][2]) if found else ""


def _recognise(code: int | None, text: str) -> tuple[Known | None, re.Match[str] | None]:
    for known in TABLE:
        found = known.pattern.search(text)
        if found:
            return known, found
    for known in TABLE:
        if code in known.codes:
            return known, None
    return None, None


def _of_kind(kind: str) -> Known:
    return next(known for known in TABLE if known.kind == kind)


def _under_data_root(found: re.Match[str] | None, facts: Facts) -> bool:
    missing = (found["path"] or found["other"]) if found else ""
    return bool(missing) and Path(missing).is_relative_to(facts.data_root)


def _unknown(exit_code: int | None, text: str, facts: Facts) -> Diagnosis:
    lines = [line for line in text.splitlines() if line.strip()][-LAST_LINES:]
    last = "\n".join(lines) or "(no output)"
    return Diagnosis(
        "unknown",
        f"The run ended with exit code {exit_code}.",
        f"This failure is not one of the known ones. The last lines:\n{last}",
        (f"less {facts.log_path}  # the whole log", "pillsnap train --log-level DEBUG"),
    )


def _words(facts: Facts, text: str, found: re.Match[str] | None) -> dict[str, str]:
    groups = {name: value for name, value in (found.groupdict() if found else {}).items() if value}
    words = {
        name: f"{value:g}" if isinstance(value, float) else str(value)
        for name, value in asdict(facts).items()
    }
    words |= {
        "half_batch_size": str(max(1, facts.batch_size // 2)),
        "half_detection_batch_size": str(max(1, facts.detection_batch_size // 2)),
        "tenth_lr": f"{facts.lr / 10:g}",
        "stage": stage_of(text),
    }
    return defaultdict(lambda: groups.get("other", ""), words | groups)


def _last_line(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - (1 << 16)))
        lines = file.read().splitlines()
    return lines[-1] if lines else b""


def _free(path: Path) -> str:
    usage = shutil.disk_usage(path)
    return f"{_gb(usage.free)} of {_gb(usage.total)}"


def _gb(count_bytes: float) -> str:
    return f"{count_bytes / 1e9:.1f} GB"


def _gpu() -> str:
    sample = GpuReader().read()
    if not sample:
        return "none is visible"
    used, total = float(sample["gpu_memory_used_mb"]), float(sample["gpu_memory_total_mb"])
    return f"{sample['gpu_name']}, {used / 1024:.1f} of {total / 1024:.1f} GB in use now"
