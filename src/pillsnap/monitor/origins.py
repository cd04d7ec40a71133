"""Which run metrics.json and validation.json are from: the newest in the log, or an earlier one.

Both are committed to git, so a fresh clone has them before anything ran there.
"""

from typing import Any

from pillsnap.monitor.folder import CHECKPOINTS, RunFolder
from pillsnap.places import TRAININGS

Json = dict[str, Any]


def of(folder: RunFolder) -> Json:
    """For each file: when and by which run and git revision it was made, whether it is current."""
    revision = _at(folder.contents["evaluation"], "provenance.git_revision")
    short = revision[:12] if isinstance(revision, str) else None
    validate, modified_s = folder.state.stages["validate"], folder.modified_s["validation"] or 0.0
    validated = validate.status == "done" and modified_s >= (validate.started_s or 0.0)
    return {
        "metrics": _origin(folder, "metrics", "evaluate", _is_measured(folder), short),
        "validation": _origin(folder, "validation", "validate", validated, None),
    }


def _origin(folder: RunFolder, name: str, stage: str, current: bool, revision: str | None) -> Json:
    run, time_s = folder.state.stages[stage].run if current else "", folder.modified_s[name]
    return {"time": time_s, "run": run or None, "revision": revision, "current": current}


def _is_measured(folder: RunFolder) -> bool:
    """Whether the metrics are those of the newest trainings in the log and of the checkpoints."""
    stages, found = folder.state.stages, folder.contents
    trainings, evaluate = [stages[name] for name in TRAININGS], stages["evaluate"]
    started = [stage.started_s for stage in trainings if stage.started_s is not None]
    if not started or (folder.modified_s["metrics"] or 0.0) < max(started):
        return False
    if any(stage.status not in ("done", "idle") for stage in trainings):
        return False
    if evaluate.status != "idle":  # idle: DVC has restored its outputs
        if evaluate.status != "done" or (evaluate.started_s or 0.0) < max(started):
            return False
        logged = ((_at(found["metrics"], name), value) for name, value in evaluate.result.items())
        if any(metric not in (None, value) for metric, value in logged):
            return False  # git may have put an older file back
    evaluated = {key: _at(found["evaluation"], f"provenance.{key}") for key in CHECKPOINTS}
    return all(found[key] and evaluated[key] == found[key] for key in CHECKPOINTS)


def _at(tree: Any, name: str) -> Any:
    for part in name.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree
