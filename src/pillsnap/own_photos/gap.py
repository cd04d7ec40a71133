"""How far figures of a user's own photos are from those of the data set in evaluation.json: of each
kind of photos beside its like, from the test part wherever that has such photos."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]

FIGURES = ("frame_exact", "pill_f1", "pill_precision", "pill_recall")


@dataclass(frozen=True)
class Like:
    """Which figures of the data set a kind of photos is compared with."""

    photos: str
    section: str  # of pipeline in evaluation.json
    part: str


LIKE = {
    "single": Like("single photos of learnt drugs", "single", "val: test has no such photos"),
    "unknown": Like("single photos of drugs never learnt", "test_single", "test"),
    "combination": Like("combination photos", "test", "test"),
}


def compare(own: Mapping[str, Json], evaluation_path: Path, classifier_sha256: str) -> list[Json]:
    """A row per figure of each kind in `own` (figures of the pipeline by LIKE's kinds).

    A figure that one side lacks, or that another classifier than this one was measured with, has
    gap None and a reason, never 0.
    """
    measured, why = _measured(evaluation_path, classifier_sha256)
    return [
        _row(kind, figure, figures, measured, why or f"{evaluation_path} does not hold it")
        for kind, figures in own.items()
        for figure in FIGURES
        if figure in figures
    ]


def _measured(path: Path, classifier_sha256: str) -> tuple[Json, str]:
    """The figures of the pipeline, or none and why."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        measured: Json = tree["pipeline"]
        measured_sha256 = tree["provenance"]["classification_sha256"]
    except (OSError, ValueError, LookupError, TypeError):
        return {}, f"{path} holds no such figures: dvc repro"
    if measured_sha256 != classifier_sha256:
        return {}, f"{path} was measured with another classifier: dvc repro evaluate"
    return measured, ""


def _row(kind: str, figure: str, own: Json, measured: Json, why_none: str) -> Json:
    like = LIKE[kind]
    theirs = measured.get(like.section, {})
    mine, other = own[figure], theirs.get(figure)
    row: Json = {
        "photos": like.photos,
        "figure": figure,
        "own": mine,
        "data_set": other,
        "compared_with": f"pipeline.{like.section}.{figure} of {like.part}",
        "gap": None,
    }
    if other is None:
        return {**row, "reason": theirs.get(f"{figure}_reason", why_none)}
    if mine is None:
        return {**row, "reason": own.get(f"{figure}_reason", "nothing to measure it on")}
    return {**row, "gap": mine - other}


def render(rows: list[Json]) -> list[str]:
    """A line per row."""
    return [
        f"  {row['figure']} of {row['photos']}: {shown(row['own'])}, "
        f"the data set's {shown(row['data_set'])} ({row['compared_with']}), "
        + (f"gap {row['gap']:+.3f}" if row["gap"] is not None else f"no gap: {row['reason']}")
        for row in rows
    ]


def shown(value: float | None) -> str:
    """A figure of three digits, or a dash."""
    return "-" if value is None else f"{value:.3f}"
