"""Runs a training stage in `train.devices` processes, through torchrun's agent."""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import NoReturn

from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from pillsnap import params as parameters
from pillsnap.errors import MachineError, UserError
from pillsnap.params import Params
from pillsnap.stage import run as stage
from pillsnap.stage.log import RunLog
from pillsnap.stage.run import DONE, FAULT, INTERRUPTED, Work
from pillsnap.training import ranks

RESTARTS = 3
RANK0_FIRST_S = 5.0
# Sent to the agent by a process whose failure a restart would repeat; torchrun handles it too.
GIVE_UP = signal.SIGQUIT


def run(name: str, work: Work) -> NoReturn:
    """stage.run in `train.devices` processes; one that torchrun started joins the others."""
    if ranks.started_by_torchrun():
        _as_rank(name, work)
    devices = _devices()
    if devices == 1:
        stage.run(name, work)
    stage.treat_sigterm_as_interrupt()
    sys.exit(_launched(name, devices))


def _devices() -> int:
    try:
        return parameters.load().train.devices
    except UserError:
        return 1  # stage.run reports what is wrong


def _launched(name: str, devices: int) -> int:
    """Exit code of the processes; rank 0 has reported everything except lost processes."""
    script = str(Path(sys.argv[0]).resolve())
    flags = ["--standalone", "--local-addr=127.0.0.1", f"--max-restarts={RESTARTS}"]
    signals = f"--signals-to-handle=SIGTERM,SIGINT,{GIVE_UP.name}"  # nohup stays nohup
    os.environ[ranks.OWN_STORE] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as torchrun sets it, without its warning
    arguments = torchrun.parse_args(  # type: ignore[no-untyped-call]
        [*flags, f"--nproc-per-node={devices}", signals, script, *sys.argv[1:]]
    )
    try:
        torchrun.run(arguments)  # type: ignore[no-untyped-call]
    except SignalException as ended:
        return FAULT if ended.sigval == GIVE_UP else INTERRUPTED
    except KeyboardInterrupt:
        return INTERRUPTED
    except ChildFailedError as error:
        first, failure = error.get_first_failure()
        stage.run(name, partial(_lost, f"rank {first} ended with {failure.exitcode}"))
    return DONE


def _lost(reason: str, _params: Params, _log: RunLog) -> NoReturn:
    """Report that the processes of a training were lost."""
    raise MachineError(
        f"The training's processes were started {RESTARTS + 1} times and failed: {reason}.",
        "See the lines above for the reason. The same command resumes from the last checkpoint; "
        "with one process: dvc exp run -S train.devices=1",
    )


def _as_rank(name: str, work: Work) -> NoReturn:
    signal.signal(GIVE_UP, lambda *_: os._exit(FAULT))  # a peer gave up; the default dumps core
    try:
        if int(os.environ["RANK"]) > 0:
            sys.exit(_followed(name, work))
        stage.run(name, work)
    except SystemExit as ended:
        if ended.code == FAULT:  # the user must act first: another start would fail as well
            os.kill(os.getppid(), GIVE_UP)
        raise


def _followed(name: str, work: Work) -> int:
    """Any other rank: writes no events, and one line for an error that only this rank has."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        params = parameters.load()
        work(params, NullLog(name, params.artifacts_dir / "live"))
    except UserError as error:
        time.sleep(RANK0_FIRST_S)  # most errors are all ranks': rank 0 reports, the agent ends us
        rank = os.environ["RANK"]
        print(f"{name}, rank {rank}: {error.fact} -> {error.cure}", file=sys.stderr)
        return FAULT
    except KeyboardInterrupt:
        return INTERRUPTED
    return DONE


class NullLog(RunLog):
    """A log that writes nothing: rank 0 writes for all."""

    def _emit(self, kind: str, **_facts: object) -> None:
        """Write nothing."""

    def _line(self, level: str, message: str) -> None:
        """Write nothing."""

    def due(self) -> bool:
        """Never."""
        return False
