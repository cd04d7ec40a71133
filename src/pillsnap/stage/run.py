"""Runs a stage script: parameters, log, signals, exit code."""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from pillsnap import files
from pillsnap import params as parameters
from pillsnap.errors import UserError
from pillsnap.params import Params
from pillsnap.places import Places
from pillsnap.stage.log import LOG_LEVELS, RunLog
from pillsnap.stage.signals import end_with_parent

DONE, FAULT, INTERRUPTED = 0, 1, 130
LOG_LEVEL_VARIABLE = "PILLSNAP_LOG_LEVEL"

Work = Callable[[Params, RunLog], dict[str, float | None]]


def run(stage: str, work: Work) -> NoReturn:
    """Run `work` as the stage of that name and leave the process with its exit code.

    0 done; 1 the user's input or data is at fault (one screen, no traceback); 130 interrupted,
    so that DVC never commits half a result. Any other error is a bug and keeps its traceback.
    """
    parser = argparse.ArgumentParser(prog=f"src/{stage}.py", description=work.__doc__)
    parser.add_argument("--log-level", default=os.environ.get(LOG_LEVEL_VARIABLE) or "INFO")
    level = parser.parse_args().log_level.upper()
    if level not in LOG_LEVELS:
        parser.error(f"log level {level} is none of {', '.join(LOG_LEVELS)}")
    treat_sigterm_as_interrupt()
    try:
        params = parameters.load()
        if "DVC_ROOT" in os.environ:
            Places.of(params).check_links()
    except UserError as error:
        sys.exit(_refuse(stage, error))
    with RunLog(stage, params.artifacts_dir / "live", level) as log:
        sys.exit(_watched(stage, work, params, log))


def _watched(stage: str, work: Work, params: Params, log: RunLog) -> int:
    started_s = time.monotonic()
    try:
        metrics = work(params, log)
    except KeyboardInterrupt:
        log.failure("Interrupted.", "A signal or Ctrl-C ended the stage.", ["dvc repro resumes it"])
        print(f"{stage}: interrupted; the same command resumes from here.", file=sys.stderr)
        return INTERRUPTED
    except BaseException as error:
        refusal = files.disk_fault(error) if isinstance(error, OSError) else error
        if not isinstance(refusal, UserError):
            log.failure(f"{type(error).__name__}: {error}", "", [])
            raise
        log.failure(refusal.fact, "", [refusal.cure])
        return _refuse(stage, refusal)
    minutes = (time.monotonic() - started_s) / 60
    log.end({**metrics, "minutes": round(minutes, 3)}, f"done in {minutes:.1f} min")
    return DONE


def _refuse(stage: str, error: UserError) -> int:
    print(f"\n{stage}: {error.fact}\n  -> {error.cure}\n", file=sys.stderr)
    return FAULT


def git_revision() -> str | None:
    """The commit of the work tree, or None outside a repository."""
    command = ["git", "rev-parse", "--verify", "--quiet", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def treat_sigterm_as_interrupt() -> None:
    """SIGTERM acts as Ctrl-C: save, then exit. Under dvc it is also sent when dvc dies.

    Otherwise killing `dvc repro` would leave the trainer running next to the following one.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if "DVC_ROOT" in os.environ:
        end_with_parent(signal.SIGTERM)
