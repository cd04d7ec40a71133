"""The record of a training: DVCLive's files, one event and one log line per epoch.

DVCLive under DVC outs loses its history on resume (3.49), so the history is kept in the
checkpoint and replayed.
"""

from pathlib import Path
from typing import Any, TypedDict

from dvclive import Live

from pillsnap import files
from pillsnap.stage.hardware import numbers_only
from pillsnap.stage.log import RunLog

PLOTTED = {
    "cpu_pct",
    "ram_used_mb",
    "gpu_util_pct",
    "gpu_memory_used_mb",
    "gpu_temperature_c",
    "gpu_power_w",
}


class Epoch(TypedDict):
    """One complete epoch, as stored in the checkpoint."""

    metrics: dict[str, float]
    hardware: dict[str, Any]
    seconds: float


class Recorder:
    """Writes the epochs of one training to `live_dir`; replays those of an interrupted run.

    `live_dir` is None in all ranks but the first: they only count epochs.
    """

    def __init__(
        self, live_dir: Path | None, log: RunLog, epochs: int, history: list[Epoch]
    ) -> None:
        self._live: Any = None
        if live_dir is not None:
            self._live = Live(
                str(live_dir), save_dvc_exp=False, dvcyaml=None, report=None, monitor_system=False
            )
        self._live_dir, self._log, self._epochs = live_dir, log, epochs
        self.history = list(history)
        for number, epoch in enumerate(self.history, start=1):
            self._write(number, epoch)

    def record(self, metrics: dict[str, float], seconds: float) -> None:
        """Add a complete epoch; `announce` it once the checkpoint that contains it is written."""
        epoch: Epoch = {"metrics": metrics, "hardware": self._log.hardware(), "seconds": seconds}
        self.history.append(epoch)
        self._write(len(self.history), epoch)

    def announce(self) -> None:
        """Log the last epoch."""
        last = self.history[-1]
        shown = {**last["metrics"], "seconds": round(last["seconds"], 2)}
        self._log.epoch(len(self.history), self._epochs, shown, last["hardware"])

    @property
    def minutes(self) -> float:
        """Time spent in all epochs, including those before an interruption."""
        return sum(epoch["seconds"] for epoch in self.history) / 60

    def finish(self, **facts: Any) -> None:
        """Close DVCLive's files and write summary.json."""
        if self._live_dir is None:
            return
        self._live.end()
        summary = {"minutes": round(self.minutes, 4), "epochs": len(self.history), **facts}
        files.write_json(self._live_dir / "summary.json", summary)

    def _write(self, number: int, epoch: Epoch) -> None:
        if self._live is None:
            return
        self._live.step = number
        use = {k: v for k, v in numbers_only(epoch["hardware"]).items() if k in PLOTTED}
        for name, value in {**epoch["metrics"], **_under("hardware", use)}.items():
            self._live.log_metric(name, value)
        self._live.make_summary()


def _under(prefix: str, values: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in values.items()}
