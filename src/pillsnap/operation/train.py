"""`pillsnap train`: checks, shows what is out of date, runs DVC, explains how the run ended."""

import os
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from pillsnap import files
from pillsnap import params as parameters
from pillsnap.aihub import fingerprint
from pillsnap.errors import MachineError, UserError
from pillsnap.monitor.events import EventReader
from pillsnap.operation import back, changes, diagnosis, git_state, preflight, status, unfinished
from pillsnap.operation.changes import Changes
from pillsnap.operation.log_file import Output, clean
from pillsnap.operation.process import ProcessGroup
from pillsnap.params import Params
from pillsnap.stage.log import CONSOLE_VARIABLE
from pillsnap.stage.run import DONE, FAULT, INTERRUPTED, LOG_LEVEL_VARIABLE

NAME = "train"
TAIL_LINES = 600


def train(
    wanted: Mapping[str, Any],
    *,
    checkpoint: Path | None = None,
    resume: bool = True,
    log_level: str = "INFO",
    yes: bool = False,
    root: Path = Path(),
) -> int:
    """Run the pipeline with `wanted` values by dotted key; returns the exit code (0, 1 or 130).

    None is not wanted. `checkpoint` holds weights that the classifier starts from; without
    `resume` unfinished trainings are removed first; `yes` asks nothing.
    """
    with Output(NAME, root / "logs") as output:
        try:
            run = _prepare(wanted, checkpoint, root, output)
            environment = _environment(log_level)
            command = _command(run.changes)
            _announce(run, command, environment, resume)
            if not yes and sys.stdin.isatty() and not _confirmed():
                output.show("Nothing was started.")
                return FAULT
            if not resume:
                output.show(unfinished.remove(root))
            return _carry_out(run, command, environment)
        except UserError as error:
            output.show(Text(f"\npillsnap train: {error.fact}\n  -> {error.cure}\n"), "ERROR")
            return FAULT
        except KeyboardInterrupt:
            output.show("Interrupted before anything ran.", "WARNING")
            return INTERRUPTED


@dataclass(frozen=True)
class _Run:
    """What is going to run, and where."""

    params: Params
    changes: Changes
    root: Path
    output: Output
    begun_s: float

    @property
    def minutes(self) -> float:
        return (time.time() - self.begun_s) / 60

    @property
    def events_path(self) -> Path:
        return self.root / self.params.artifacts_dir / "live" / "events.jsonl"


def _prepare(
    wanted: Mapping[str, Any], checkpoint: Path | None, root: Path, output: Output
) -> _Run:
    """Parameters with the changes, the checklist passed, the fingerprint taken."""
    path = root / "params.yaml"
    before = parameters.read(path)
    if checkpoint:  # judged before it is copied
        scale = parameters.parse(changes.applied(before, changes.of(wanted, before)), path)
        unfinished.check_start(checkpoint, root / scale.artifacts_dir / "classes.csv")
        start = unfinished.keep_start(checkpoint, root)
        wanted = {**wanted, f"scales.{scale.scale}.classifier_weights": start.as_posix()}
    changed = changes.of(wanted, before)
    params = parameters.parse(changes.applied(before, changed), path)
    points = preflight.check(params, root)
    output.show(preflight.render(points))
    failed = [point.name for point in points if point.status == "fail"]
    if failed:
        raise MachineError(
            f"Nothing was started: {', '.join(failed)} failed.", "See the cures above."
        )
    if changed:
        _need_experiments(root, changed)
    _take_fingerprint(params, root, output)
    return _Run(params, changed, root, output, time.time())


def _announce(run: _Run, command: list[str], environment: dict[str, str], resume: bool) -> None:
    """Show what is out of date, unfinished trainings and the command; MachineError as DVC fails."""
    asked = status.ask(run.root, environment)
    if asked.returncode:
        facts = diagnosis.gather(run.params, run.output.log.path)
        found = diagnosis.explain(asked.returncode, asked.stdout + asked.stderr, facts)
        raise MachineError(" ".join((found.fact, found.cause)).strip(), "\n  -> ".join(found.cures))
    run.output.show(status.table(asked.stdout))
    if run.changes:
        run.output.show(
            f"Changed: {', '.join(run.changes)}. Stages that read it run as well, and those that "
            "follow them."
        )
    for line in unfinished.describe(run.root) if resume else ():
        run.output.show(line)
    run.output.show(Text(f"{' '.join(command)}   (log: {run.output.log.path})", style="bold"))


def _carry_out(run: _Run, command: list[str], environment: dict[str, str]) -> int:
    """Run DVC: its lines go to terminal and log as they come, those of stages from their events."""
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    events = EventReader(run.events_path)
    with ProcessGroup(command, environment, run.root) as group:
        for raw in group.lines():
            _show_events(run, events)
            if raw is not None:
                tail.append(clean(raw))
                run.output.line(tail[-1])
        _show_events(run, events)
        code = group.exit_code()
    if group.interrupted:
        return _interrupted(run)
    return _finished(run) if code == 0 else _failed(run, code, "\n".join(tail))


def _show_events(run: _Run, reader: EventReader) -> None:
    """The log lines that stages of this run wrote since the last call."""
    more = True
    while more:
        try:
            batch = reader.read()
        except OSError:  # looked for again with the next line
            return
        for event in batch.events:
            if event.kind == "log" and event.time_s >= run.begun_s:
                run.output.event(event.stage, event.level, event.message, event.time_s)
        more = batch.more


def _finished(run: _Run) -> int:
    metrics = _headline(run.root / run.params.artifacts_dir / "metrics.json")
    run.output.show(f"Done in {run.minutes:.1f} min. {metrics}")
    run.output.show(f"Metrics: {run.params.artifacts_dir}/metrics.json   Goals: pillsnap targets")
    return DONE


def _interrupted(run: _Run) -> int:
    run.output.show(
        f"Interrupted after {run.minutes:.1f} min. Resume: pillsnap train --resume", "WARNING"
    )
    _show_way_back(run)
    return INTERRUPTED


def _failed(run: _Run, code: int, text: str) -> int:
    found = diagnosis.explain(code, text, diagnosis.gather(run.params, run.output.log.path))
    run.output.show("")
    run.output.show(diagnosis.render(found), "ERROR")
    run.output.show(f"The whole log: {run.output.log.path}")
    _show_way_back(run)
    diagnosis.record(found, run.events_path, run.begun_s)
    return INTERRUPTED if found.kind == "interrupted" else FAULT


def _show_way_back(run: _Run) -> None:
    if run.changes:
        run.output.show(
            f"params.yaml keeps {', '.join(run.changes)} as given, so that the next call resumes "
            f"with it. Back to the committed params.yaml: {back.COMMAND}",
            "WARNING",
        )


def _need_experiments(root: Path, changed: Changes) -> None:
    state = git_state.read(root)
    if state.hindrance:
        raise MachineError(
            f"{', '.join(changed)} would run as a DVC experiment, which needs git: "
            f"{state.hindrance}.",
            f"{state.cure}; or edit params.yaml and call `pillsnap train` without these options.",
        )


def _take_fingerprint(params: Params, root: Path, output: Output) -> None:
    path = root / fingerprint.path_of(params.scale)
    if fingerprint.read(path) is None:
        taken = fingerprint.take(root / params.data_root())
        fingerprint.write(path, params.scale, taken)
        output.show(f"{path}: recorded {taken.count:,} files, {taken.bytes:,} bytes")


def _environment(log_level: str) -> dict[str, str]:
    """Ours, with the programs of this Python first on PATH; stages log to their events only."""
    programs = str(Path(sys.executable).parent)
    path = programs + os.pathsep + os.environ.get("PATH", os.defpath)
    own = {"PATH": path, LOG_LEVEL_VARIABLE: log_level, CONSOLE_VARIABLE: "off"}
    return {**os.environ, **own, "PYTHONUNBUFFERED": "1"}


def _command(changed: Changes) -> list[str]:
    return ["dvc", "exp", "run", *changes.as_settings(changed)] if changed else ["dvc", "repro"]


def _confirmed() -> bool:
    try:
        return input("Start? [Y/n] ").strip().lower() in ("", "y", "yes")
    except EOFError:
        return False


HEADLINES = {
    "classification.top1": "top-1",
    "detection.map50": "mAP50",
    "training.total_minutes": "training minutes",
}


def _headline(path: Path) -> str:
    """Three metrics in a line; "" where metrics.json cannot be read."""
    try:
        metrics = files.read_json(path, "")
    except UserError:
        return ""
    values = {label: parameters.at(metrics, key) for key, label in HEADLINES.items()}
    return ", ".join(f"{k} {v:.4g}" if v is not None else f"{k} -" for k, v in values.items())
