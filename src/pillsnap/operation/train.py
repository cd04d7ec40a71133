"""`pillsnap train`: checks, says what will run, runs it through DVC, explains how it ended."""

import os
import shutil
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from rich.table import Table
from rich.text import Text

from pillsnap import params as parameters
from pillsnap.aihub import fingerprint
from pillsnap.errors import MachineError, UserError
from pillsnap.operation import changes as parameter_changes
from pillsnap.operation import diagnosis, git_state, plan, preflight, unfinished, webhook
from pillsnap.operation.log_file import LineSorter, LogFile, Voice, clean
from pillsnap.operation.process import ProcessGroup
from pillsnap.params import Params
from pillsnap.stage.run import DONE, FAULT, INTERRUPTED, LOG_LEVEL_VARIABLE

NAME = "train"
TAIL_LINES = 600
Changes = dict[str, Any]


@dataclass(frozen=True)
class TrainOptions:
    """What was asked for on the command line; None: what params.yaml says."""

    scale: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    detection_batch_size: int | None = None
    lr: float | None = None
    checkpoint: Path | None = None
    resume: bool = True
    yes: bool = False
    log_level: str = "INFO"


def train(options: TrainOptions, root: Path = Path()) -> int:
    """Run the training that `options` ask for; returns the exit code (0, 1 or 130)."""
    with LogFile(root / "logs", NAME, datetime.now()) as log:
        voice = Voice(NAME, log)
        try:
            return _train(options, root, voice)
        except UserError as error:
            voice.say(Text(f"\npillsnap train: {error.fact}\n  -> {error.cure}\n"), "ERROR")
            return FAULT
        except KeyboardInterrupt:
            voice.say("Interrupted before anything ran.", "WARNING")
            return INTERRUPTED


def _train(options: TrainOptions, root: Path, voice: Voice) -> int:
    changes, tree, params = _asked(options, root)
    points = preflight.check(params, root)
    voice.say(preflight.render(points))
    if preflight.failures(points):
        voice.say("Nothing was started: see the failed points above.", "ERROR")
        return FAULT
    if changes:
        _need_experiments(root, changes)
    _take_fingerprint(params, root, voice)
    environment = _environment(options)
    steps = plan.plan(
        plan.read_pipeline(root / "dvc.yaml"),
        _status(root, environment, params, voice),
        tree,
        set(changes),
    )
    command = _command(changes)
    voice.say(_shown(steps))
    for line in unfinished.describe(root) if options.resume else ():
        voice.say(line)
    voice.say(Text(f"{' '.join(command)}   (log: {voice.log.path})", style="bold"))
    if not options.yes and sys.stdin.isatty() and not _confirmed():
        voice.say("Nothing was started.")
        return FAULT
    if not options.resume:
        voice.say(unfinished.remove(root))
    run = _Run(params, changes, root, voice, time.time())
    return _carry_out(run, command, environment)


def _asked(options: TrainOptions, root: Path) -> tuple[Changes, dict[str, Any], Params]:
    """The keys that change, params.yaml with them, and that tree checked.

    Weights to start from are judged before they are copied.
    """
    path = root / "params.yaml"
    before, wanted = parameters.read(path), _as_keys(options)
    if options.checkpoint:
        params = parameters.parse(parameter_changes.applied(before, wanted), path)
        unfinished.check_start(options.checkpoint, root / params.artifacts_dir / "classes.csv")
        start = unfinished.keep_start(options.checkpoint, root)
        wanted[f"scales.{params.scale}.classifier_weights"] = start.as_posix()
    changes = parameter_changes.of(wanted, before)
    tree = parameter_changes.applied(before, changes)
    return changes, tree, parameters.parse(tree, path)


def _as_keys(options: TrainOptions) -> Changes:
    """The options that were given as keys of params.yaml."""
    keys = {
        "scale": options.scale,
        "train.epochs": options.epochs,
        "train.batch_size": options.batch_size,
        "train.detection_batch_size": options.detection_batch_size,
        "train.lr": options.lr,
    }
    return {key: value for key, value in keys.items() if value is not None}


@dataclass(frozen=True)
class _Run:
    """What is running, and what its end has to know."""

    params: Params
    changes: Changes
    root: Path
    voice: Voice
    begun_s: float

    @property
    def minutes(self) -> float:
        return (time.time() - self.begun_s) / 60

    def tell(self, event: webhook.Event, message: str, cures: tuple[str, ...] = ()) -> None:
        notice = webhook.Notice(event, self.params.scale, self.minutes, message, cures)
        warning = webhook.send(notice)
        if warning:
            self.voice.say(warning, "WARNING")

    def say_way_back(self) -> None:
        if self.changes:
            self.voice.say(
                f"params.yaml keeps {', '.join(self.changes)} as asked for, so that the next call "
                "goes on with it. Back to what it was: git checkout params.yaml dvc.lock",
                "WARNING",
            )


def _carry_out(run: _Run, command: list[str], environment: dict[str, str]) -> int:
    sort = LineSorter(NAME)
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with ProcessGroup(command, environment, run.root) as group:
        for raw in group.lines():
            text = clean(raw)
            tail.append(text)
            run.voice.line(sort(text))
        code = group.exit_code()
    if group.interrupted:
        return _interrupted(run)
    return _finished(run) if code == 0 else _failed(run, code, "\n".join(tail))


def _finished(run: _Run) -> int:
    figures = _figures(run.root / run.params.artifacts_dir / "metrics.json")
    run.voice.say(f"Done in {run.minutes:.1f} min. {figures}")
    run.voice.say(f"Figures: {run.params.artifacts_dir}/metrics.json   Goals: pillsnap targets")
    run.tell("finished", figures)
    return DONE


def _interrupted(run: _Run) -> int:
    run.voice.say(
        f"Interrupted after {run.minutes:.1f} min. `pillsnap train --resume` goes on.", "WARNING"
    )
    run.say_way_back()
    run.tell("interrupted", "pillsnap train goes on.")
    return INTERRUPTED


def _failed(run: _Run, code: int, text: str) -> int:
    found = diagnosis.explain(code, text, diagnosis.gather(run.params, run.voice.log.path))
    run.voice.say("")
    run.voice.say(diagnosis.render(found), "ERROR")
    run.voice.say(f"The whole log: {run.voice.log.path}")
    run.say_way_back()
    events_path = run.root / run.params.artifacts_dir / "live" / "events.jsonl"
    diagnosis.record(found, events_path, run.begun_s)
    run.tell("failed", found.fact, found.cures)
    return INTERRUPTED if found.kind == "interrupted" else FAULT


def _need_experiments(root: Path, changes: Changes) -> None:
    state = git_state.read(root)
    if state.hindrance:
        raise MachineError(
            f"{', '.join(changes)} would run as a DVC experiment, which needs git: "
            f"{state.hindrance}.",
            f"{state.cure}; or edit params.yaml and call `pillsnap train` without these options.",
        )


def _take_fingerprint(params: Params, root: Path, voice: Voice) -> None:
    path = root / fingerprint.path_of(params.scale)
    if fingerprint.read(path) is None:
        taken = fingerprint.take(root / params.data_root())
        fingerprint.write(path, params.scale, taken)
        voice.say(f"{path}: recorded {taken.count:,} files, {taken.bytes:,} bytes")


def _environment(options: TrainOptions) -> dict[str, str]:
    """Ours, with the programs of this Python first on PATH and without the webhook's secret."""
    environment = {
        name: value for name, value in os.environ.items() if name != webhook.URL_VARIABLE
    }
    programs = str(Path(sys.executable).parent)
    environment["PATH"] = programs + os.pathsep + environment.get("PATH", os.defpath)
    environment[LOG_LEVEL_VARIABLE] = options.log_level.upper()
    environment["PYTHONUNBUFFERED"] = "1"
    return environment


def _command(changes: Changes) -> list[str]:
    if not changes:
        return ["dvc", "repro"]
    return ["dvc", "exp", "run", *parameter_changes.as_settings(changes)]


def _status(
    root: Path, environment: dict[str, str], params: Params, voice: Voice
) -> dict[str, Any]:
    program = shutil.which("dvc", path=environment["PATH"]) or "dvc"
    done = subprocess.run(
        [program, "status", "--json"],
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        found: dict[str, Any] = orjson.loads(done.stdout.strip().rpartition("\n")[2])
        return found
    facts = diagnosis.gather(params, voice.log.path)
    told = diagnosis.explain(done.returncode, done.stdout + done.stderr, facts)
    raise MachineError(" ".join((told.fact, told.cause)).strip(), "\n  -> ".join(told.cures))


def _shown(steps: list[plan.Step]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for step in steps:
        what = Text("runs", style="bold") if step.runs else Text("cached", style="green")
        table.add_row(what, step.stage, step.why or "up to date")
    return table


def _confirmed() -> bool:
    try:
        return input("Start? [Y/n] ").strip().lower() in ("", "y", "yes")
    except EOFError:
        return False


HEADLINES = (
    ("classification", "top1", "top-1"),
    ("detection", "map50", "mAP50"),
    ("training", "total_minutes", "training minutes"),
)


def _figures(path: Path) -> str:
    try:
        metrics = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return ""
    values = [(label, (metrics.get(part) or {}).get(key)) for part, key, label in HEADLINES]
    return ", ".join(
        f"{label} {value:.4g}" if value is not None else f"{label} -" for label, value in values
    )
