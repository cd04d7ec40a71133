"""`pillsnap train`: checks, shows what is out of date, runs DVC, explains how the run ended."""

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from pillsnap import params as parameters
from pillsnap.errors import MachineError, UserError
from pillsnap.formats import fingerprint
from pillsnap.monitor.events import EventReader
from pillsnap.operation import changes, diagnosis, git_state, preflight, status, targets, unfinished
from pillsnap.operation.log_file import Output, clean
from pillsnap.operation.process import ProcessGroup
from pillsnap.params import Params
from pillsnap.stage.log import CONSOLE_VARIABLE
from pillsnap.stage.run import DONE, FAULT, INTERRUPTED, LOG_LEVEL_VARIABLE

ROOT = Path()
TAIL_LINES = 600


def train(
    wanted: Mapping[str, Any],
    *,
    checkpoint: Path | None = None,
    resume: bool = True,
    log_level: str = "INFO",
    yes: bool = False,
) -> int:
    """Run the pipeline with `wanted` values by dotted key (None: the current one); returns 0, 1 or
    130. `checkpoint`: weights that the classifier starts from; without `resume` unfinished
    trainings are removed first."""
    with Output("train", ROOT / "logs") as output:
        try:
            run = _prepare(wanted, checkpoint, output, log_level)
            _announce(run, resume)
            if not yes and sys.stdin.isatty() and not _confirmed():
                output.show("Nothing was started.")
                return FAULT
            if not resume:
                output.show(unfinished.remove(ROOT))
            return _carry_out(run)
        except UserError as error:
            output.show(Text(f"\npillsnap train: {error.fact}\n  -> {error.cure}\n"), "ERROR")
            return FAULT
        except KeyboardInterrupt:
            output.show("Interrupted before anything ran.", "WARNING")
            return INTERRUPTED


@dataclass(frozen=True)
class _Run:
    """What is going to run."""

    params: Params
    changes: changes.Changes
    environment: dict[str, str]
    output: Output
    begun_s: float

    @property
    def command(self) -> list[str]:
        experiment = ["dvc", "exp", "run", *changes.as_settings(self.changes)]
        return experiment if self.changes else ["dvc", "repro"]

    @property
    def events_path(self) -> Path:
        return self.params.artifacts_dir / "live" / "events.jsonl"

    def explain(self, code: int, text: str) -> diagnosis.Diagnosis:
        return diagnosis.explain(code, text, diagnosis.gather(self.params, self.output.log.path))


def _prepare(
    wanted: Mapping[str, Any], checkpoint: Path | None, output: Output, log_level: str
) -> _Run:
    """Parameters with the changes, the checklist passed, the fingerprint taken."""
    path = ROOT / "params.yaml"
    before = parameters.read(path)
    if checkpoint:  # judged before it is copied
        scale = parameters.parse(changes.applied(before, changes.of(wanted, before)), path)
        unfinished.check_start(checkpoint, scale.artifacts_dir / "classes.csv")
        start = unfinished.keep_start(checkpoint, ROOT)
        wanted = {**wanted, f"scales.{scale.scale}.classifier_weights": start.as_posix()}
    changed = changes.of(wanted, before)
    params = parameters.parse(changes.applied(before, changed), path)
    points = preflight.check(params, ROOT)
    output.show(preflight.render(points))
    failed = ", ".join(point.name for point in preflight.failures(points))
    if failed:
        raise MachineError(f"Nothing was started: {failed} failed.", "See the cures above.")
    if changed and (state := git_state.read(ROOT)).hindrance:
        raise MachineError(
            f"{', '.join(changed)} would run as a DVC experiment, which needs git: "
            f"{state.hindrance}.",
            f"{state.cure}; or edit params.yaml and call `pillsnap train` without these options.",
        )
    recorded = fingerprint.path_of(params.scale)
    if fingerprint.read(recorded) is None:
        taken = fingerprint.take(params.data_root(), params.data_format)
        fingerprint.write(recorded, params.scale, taken)
        output.show(f"{recorded}: recorded {taken.count:,} files, {taken.bytes:,} bytes")
    # The programs of this Python first; stages write log lines to their events only
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    own = {"PATH": programs, LOG_LEVEL_VARIABLE: log_level, CONSOLE_VARIABLE: "off"}
    environment = {**os.environ, **own, "PYTHONUNBUFFERED": "1"}
    return _Run(params, changed, environment, output, time.time())


def _announce(run: _Run, resume: bool) -> None:
    """Show what is out of date, unfinished trainings and the command; MachineError as DVC fails."""
    asked = subprocess.run(
        ["dvc", "status", "--json"], cwd=ROOT, env=run.environment, capture_output=True, text=True
    )
    if asked.returncode:
        found = run.explain(asked.returncode, asked.stdout + asked.stderr)
        raise MachineError(" ".join((found.fact, found.cause)).strip(), "\n  -> ".join(found.cures))
    run.output.show(status.table(asked.stdout))
    if run.changes:
        run.output.show(f"Changed: {', '.join(run.changes)}. Stages that depend on it run as well.")
    for line in unfinished.describe(ROOT) if resume else ():
        run.output.show(line)
    run.output.show(Text(f"{' '.join(run.command)}   (log: {run.output.log.path})", style="bold"))


def _carry_out(run: _Run) -> int:
    """Run DVC: its lines go to terminal and log as they come, those of stages from their events."""
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    events = EventReader(run.events_path)
    with ProcessGroup(run.command, run.environment, ROOT) as group:
        for raw in group.lines():
            _show_events(run, events)
            if raw is not None:
                tail.append(clean(raw))
                run.output.line(tail[-1])
        _show_events(run, events)
        code = group.exit_code()
    minutes = (time.time() - run.begun_s) / 60
    if group.interrupted:
        ended = f"Interrupted after {minutes:.1f} min. Resume: pillsnap train --resume"
        run.output.show(ended, "WARNING")
        return _ended_early(run, INTERRUPTED)
    if code:
        found = run.explain(code, "\n".join(tail))
        run.output.show(diagnosis.render(found), "ERROR")
        run.output.show(f"The whole log: {run.output.log.path}")
        diagnosis.record(found, run.events_path, run.begun_s)
        return _ended_early(run, INTERRUPTED if found.kind == "interrupted" else FAULT)
    with suppress(UserError):  # the run is done whether or not its metrics can be read
        run.output.show(targets.headlines(run.params))
    run.output.show(f"Done in {minutes:.1f} min. Goals: pillsnap targets")
    return DONE


def _show_events(run: _Run, reader: EventReader) -> None:
    """The log lines that stages of this run wrote since the last call."""
    more = True
    with suppress(OSError):  # looked for again with the next line
        while more:
            batch = reader.read()
            more = batch.more
            for event in batch.events:
                if event.kind == "log" and event.time_s >= run.begun_s:
                    run.output.event(event.stage, event.level, event.message, event.time_s)


def _ended_early(run: _Run, code: int) -> int:
    if run.changes:
        run.output.show(
            f"params.yaml keeps {', '.join(run.changes)} as given, so that the next call resumes "
            f"with it. Back to the committed params.yaml: pillsnap train --back",
            "WARNING",
        )
    return code


def _confirmed() -> bool:
    with suppress(EOFError):
        return input("Start? [Y/n] ").strip().lower() in ("", "y", "yes")
    return False
