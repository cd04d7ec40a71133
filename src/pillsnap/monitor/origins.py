"""Which run metrics.json and validation.json are from: the newest in the log, or an earlier one.

Both are committed to git, so a fresh clone has them before anything ran there.
"""

from typing import Any

from pillsnap.monitor.state import StageState, State
from pillsnap.monitor.summaries import CHECKPOINTS, ArtifactFiles
from pillsnap.places import TRAININGS

Json = dict[str, Any]


def of(state: State, files: ArtifactFiles) -> Json:
    """For each file: when and by which run and git revision it was made, whether it is current."""
    evaluate, validate = state.stages["evaluate"], state.stages["validate"]
    metrics_s, validation_s = files.modified_s["metrics"], files.modified_s["validation"]
    measured = metrics_s is not None and _is_measured(state, files.contents["metrics"], metrics_s)
    started_s = validate.started_s if validate.status == "done" else None
    validated = None not in (validation_s, started_s) and (validation_s or 0) >= (started_s or 0)
    revision = _at(files.contents["evaluation"], "provenance.git_revision")
    short = revision[:12] if isinstance(revision, str) else None
    return {
        "metrics": _origin(metrics_s, evaluate, measured and _of_checkpoints(files), short),
        "validation": _origin(validation_s, validate, validated, None),
    }


def _origin(time_s: float | None, stage: StageState, current: bool, revision: str | None) -> Json:
    run = stage.run or None if current else None
    return {"time": time_s, "run": run, "revision": revision, "current": current}


def _is_measured(state: State, metrics: Any, modified_s: float) -> bool:
    """Whether these are the metrics of the newest trainings in the log."""
    trainings = [state.stages[name] for name in TRAININGS]
    started = [stage.started_s for stage in trainings if stage.started_s is not None]
    if not started or modified_s < max(started):
        return False
    if any(stage.status not in ("done", "idle") for stage in trainings):
        return False
    evaluate = state.stages["evaluate"]
    if evaluate.status == "idle":
        return True
    measured_s = evaluate.started_s or 0.0
    return evaluate.status == "done" and measured_s >= max(started) and _agree(evaluate, metrics)


def _of_checkpoints(files: ArtifactFiles) -> bool:
    """Whether evaluation.json was measured with the checkpoints that are on disk."""
    found = files.contents
    evaluated = {key: _at(found["evaluation"], f"provenance.{key}") for key in CHECKPOINTS}
    return all(found[key] and evaluated[key] == found[key] for key in CHECKPOINTS)


def _agree(evaluate: StageState, metrics: Any) -> bool:
    """Whether metrics.json holds what the run logged at its end: git may have put an older back."""
    found = ((_at(metrics, name), value) for name, value in evaluate.result.items())
    return all(measured == value for measured, value in found if measured is not None)


def _at(tree: Any, name: str) -> Any:
    for part in name.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree
