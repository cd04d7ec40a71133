"""Measure both models on crops and frames they were not trained on: metrics.json and plots."""

from pillsnap.evaluation import evaluate
from pillsnap.params import Params
from pillsnap.stage.log import RunLog
from pillsnap.stage.run import run

STAGE = "evaluate"


def work(params: Params, log: RunLog) -> dict[str, float | None]:
    """Classify crops, detect and classify in frames, calibrate on val, measure on val and test."""
    return evaluate.evaluate(params, log)


if __name__ == "__main__":
    run(STAGE, work)
