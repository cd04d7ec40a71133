"""Stage validate: check every row, read every photo once, write the pictures for training."""

import os
from pathlib import Path

from pillsnap.params import Params
from pillsnap.stage.log import RunLog
from pillsnap.stage.run import run
from pillsnap.validation.validate import Settings, ValidationPaths, validate


def work(params: Params, log: RunLog) -> dict[str, float | None]:
    """Check rows and photos of the manifests; write crops, frames and the detection set."""
    work_dir = Path(os.environ.get("DVC_ROOT") or ".") / ".checkpoints" / "validate" / params.scale
    places = ValidationPaths(params.data_root(), params.artifacts_dir, params.data_dir, work_dir)
    settings = Settings(params.at_scale, params.validate_, params.seed, params.data_format)
    return validate(places, settings, log)


if __name__ == "__main__":
    run("validate", work)
