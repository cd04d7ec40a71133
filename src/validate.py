"""Stage validate: check every row, read every photo once, write the pictures for training."""

from pillsnap.params import Params
from pillsnap.stage.log import RunLog
from pillsnap.stage.run import run
from pillsnap.validation.validate import ValidationPaths, validate


def work(params: Params, log: RunLog) -> dict[str, float | None]:
    """Check rows and photos of the manifests; write crops, frames and the detection set."""
    return validate(ValidationPaths.of(params), params, log)


if __name__ == "__main__":
    run("validate", work)
