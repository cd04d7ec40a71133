"""Difference between the metrics of a user's own photos and those of the data set in
evaluation.json: each kind of photos against the same kind, from test if it has such photos."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pillsnap import files
from pillsnap.errors import DataError

Json = dict[str, Any]

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


def compare(own: Mapping[str, Json], evaluation_path: Path, classifier_sha256: str) -> list[Json]:
    """A row per metric of each kind in `own` (metrics of the pipeline by the kinds of LIKE).

    If one side has no value, or evaluation.json was measured with another classifier, `gap` is None
    and there is a reason, never 0.
    """
    measured, why = _measured(evaluation_path, classifier_sha256)
    return [
        _row(kind, metric, metrics, measured, why or f"{evaluation_path} does not hold it")
        for kind, metrics in own.items()
        for metric in METRICS
        if metric in metrics
    ]


def _measured(path: Path, classifier_sha256: str) -> tuple[Json, str]:
    """Metrics of the pipeline by section, or none and the reason."""
    cure = "dvc repro -f evaluate"
    try:
        found = files.typed(files.read_json(path, cure), Evaluation, path, cure)
    except DataError as error:
        return {}, f"{error.fact} Make it: {cure}"
    if found.provenance.get("classification_sha256") != classifier_sha256:
        return {}, f"{path} was measured with another classifier: dvc repro evaluate"
    return found.pipeline, ""


def _row(kind: str, metric: str, own: Json, measured: Json, why_none: str) -> Json:
    like = LIKE[kind]
    section = measured.get(like.section)
    theirs = section if isinstance(section, dict) else {}
    mine, other = own[metric], theirs.get(metric)
    row: Json = {
        "photos": like.photos,
        "metric": metric,
        "own": mine,
        "data_set": other,
        "compared_with": f"pipeline.{like.section}.{metric} of {like.part}",
        "gap": None,
    }
    if not isinstance(other, int | float):
        return {**row, "data_set": None, "reason": theirs.get(f"{metric}_reason", why_none)}
    if mine is None:
        return {**row, "reason": own.get(f"{metric}_reason", "nothing to measure it on")}
    return {**row, "gap": mine - other}


def render(rows: list[Json]) -> list[str]:
    """A line per row."""
    return [
        f"  {row['metric']} of {row['photos']}: {shown(row['own'])}, "
        f"data set {shown(row['data_set'])} ({row['compared_with']}), "
        + (f"gap {row['gap']:+.3f}" if row["gap"] is not None else f"no gap: {row['reason']}")
        for row in rows
    ]


def shown(value: float | None) -> str:
    """A metric with three decimals, or a dash."""
    return "-" if value is None else f"{value:.3f}"
