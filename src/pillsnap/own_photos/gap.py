"""A user's own photos against the data set's metrics in evaluation.json, kind by kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pillsnap import files
from pillsnap.errors import DataError
from pillsnap.files import Json

METRICS = ("frame_exact", "pill_f1", "pill_precision", "pill_recall")


@dataclass(frozen=True)
class Like:
    """The metrics of the data set that a kind of photos is compared with."""

    photos: str
    section: str  # of pipeline in evaluation.json
    part: str


LIKE = {
    "single": Like("single photos of known drugs", "single", "val: test has no such photos"),
    "unknown": Like("single photos of unknown drugs", "test_single", "test"),
    "combination": Like("combination photos", "test", "test"),
}


@dataclass(frozen=True)
class Evaluation:
    """What is read of evaluation.json."""

    pipeline: dict[str, Any]
    provenance: dict[str, Any]


def lines(own: Mapping[str, Json], evaluation_path: Path, classifier_sha256: str) -> list[str]:
    """A line per metric of each kind in `own` (metrics of the pipeline by the kinds of LIKE): both
    values, and their difference or the reason why there is none."""
    measured, why = _measured(evaluation_path, classifier_sha256)
    return [
        _line(LIKE[kind], metric, metrics, measured, why or f"{evaluation_path} does not hold it")
        for kind, metrics in own.items()
        for metric in METRICS
        if metric in metrics
    ]


def _measured(path: Path, classifier_sha256: str) -> tuple[Json, str]:
    """Metrics of the pipeline by section, or none and the reason."""
    cure = "dvc repro -f -s evaluate"
    try:
        found = files.typed(files.read_json(path, cure), Evaluation, path, cure)
    except DataError as error:
        return {}, f"{error.fact} Make it: {cure}"
    if found.provenance.get("classification_sha256") != classifier_sha256:
        return {}, f"{path} was measured with another classifier: dvc repro evaluate"
    return found.pipeline, ""


def _line(like: Like, metric: str, own: Json, measured: Json, why_none: str) -> str:
    section = measured.get(like.section)
    theirs = section if isinstance(section, dict) else {}
    mine, other = own[metric], theirs.get(metric)
    if not isinstance(other, int | float):
        other, gap = None, f"no gap: {theirs.get(f'{metric}_reason', why_none)}"
    elif mine is None:
        gap = f"no gap: {own.get(f'{metric}_reason', 'nothing to measure it on')}"
    else:
        gap = f"gap {mine - other:+.3f}"
    return (
        f"  {metric} of {like.photos}: {shown(mine)}, data set {shown(other)} "
        f"(pipeline.{like.section}.{metric} of {like.part}), {gap}"
    )


def shown(value: float | None) -> str:
    """A metric with three decimals, or a dash."""
    return "-" if value is None else f"{value:.3f}"
