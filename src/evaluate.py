"""Measure the checkpoints on crops and frames never trained on: metrics.json and figures."""

from pillsnap import evaluation
from pillsnap.params import Params
from pillsnap.run_log import RunLog
from pillsnap.stage import run

STAGE = "evaluate"


def work(params: Params, log: RunLog) -> dict[str, float | None]:
    """Name crops, detect and name on frames, calibrate on val, measure on val and test."""
    return evaluation.evaluate(params, log)


if __name__ == "__main__":
    run(STAGE, work)
